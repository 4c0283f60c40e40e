"""The HTTP service as its clients meet it: a real process, real requests over a socket."""

from __future__ import annotations

import base64
import io
import json
import os
import re
import signal
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import hostile
import httpx
import pytest
from jsonschema import Draft202012Validator
from PIL import Image
from served import Served

from comface.cli import main
from comface.weights.fetched import LANDMARKS, available

pytestmark = pytest.mark.skipif(LANDMARKS not in available(), reason="needs what `comface fetch` takes from packages")
REFUSED = {400, 408, 413, 415, 422, 429, 503}


def flood(served: Served, photo: bytes, count: int, at_once: int = 4, seed: int = 0) -> Counter[int]:
    """Send hostile requests; every answer must be one sentence, or a comparison where the photo was readable."""

    def send(request: tuple[str, bytes, str]) -> int:
        kind, body, content_type = request
        headers = {"content-type": content_type.encode("latin-1", "replace")}
        while True:
            answer = served.client.post("/v1/compare", content=body, headers=headers)
            if answer.status_code not in (429, 503):
                break
            time.sleep(0.3)
        assert answer.status_code in {200} | REFUSED, (kind, answer.text)
        if answer.status_code != 200:
            assert answer.json()["error"]["message"].endswith("."), kind
        return answer.status_code

    with ThreadPoolExecutor(at_once) as clients:
        return Counter(clients.map(send, hostile.requests(photo, count, seed)))


def test_while_the_model_is_loaded_the_service_is_alive_but_takes_no_photos(served: Served) -> None:
    assert served.early is not None
    alive, early = served.early
    assert alive.json() == {"status": "ok"}
    assert (early.status_code, early.json()["error"]["code"]) == (503, "not_ready")
    assert early.headers["retry-after"]


def test_two_photos_give_what_the_command_prints(
    served: Served, pair: tuple[bytes, bytes], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    answer = served.compare(*pair)
    assert answer.status_code == 200, answer.text
    paths = [tmp_path / "before.jpg", tmp_path / "after.jpg"]
    for path, data in zip(paths, pair, strict=True):
        path.write_bytes(data)
    model = served.client.get("/v1/model").json()["reference"]
    assert main(["compare", *map(str, paths), "--model", model, "--json"]) == 0
    expected = json.loads(capsys.readouterr().out)
    assert answer.json().keys() == expected.keys()
    assert answer.json()["caveats"] == expected["caveats"]
    for task, change in expected["changes"].items():
        found = answer.json()["changes"][task]
        assert found.pop("change") == pytest.approx(change.pop("change"), abs=1e-4)
        assert (found.pop("interval") or []) == pytest.approx(change.pop("interval") or [], abs=1e-4)
        assert found == change


def test_more_photos_give_a_time_line_and_pictures_only_if_asked_for(served: Served, pair: tuple[bytes, bytes]) -> None:
    answer = served.compare(*pair, pair[0], saliency="true", all="true").json()
    line = answer["time_line"]
    assert [step["photo"] for step in line] == [2, 3]
    assert line[-1]["from_first"]["changes"] == answer["changes"]
    assert line[0]["from_previous"] == line[0]["from_first"]
    there, back = (step["from_previous"]["changes"]["smile"]["change"] for step in line)
    assert there == pytest.approx(-back)
    assert answer["changes"]["smile"]["change"] == 0  # the last photo is the first one again
    assert len(answer["photos"]) == 3
    for each in answer["photos"]:
        for url, kind in ((each["face"], "JPEG"), (each["saliency"], "PNG")):
            assert Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))).format == kind
    assert "photos" not in served.compare(*pair).json()


def test_the_model_describes_itself(served: Served) -> None:
    facts = served.client.get("/v1/model").json()
    assert facts["rehearsal"] is True
    assert set(facts["tasks"]) == {"smile", "edema-a", "age"}
    assert facts["card"].startswith("# Model card")
    assert facts["limits"]["photos"] == 12


def test_kserve_asks_for_readiness_and_predictions(served: Served, pair: tuple[bytes, bytes]) -> None:
    assert served.client.get("/v1/models/comface").json() == {"name": "comface", "ready": True}

    def predict(body: object, name: str = "comface") -> httpx.Response:
        return served.client.post(f"/v1/models/{name}:predict", json=body)

    photos = [{"b64": base64.b64encode(data).decode()} for data in pair]
    answer = predict({"instances": [{"photos": photos}]})
    assert answer.json()["predictions"] == [served.compare(*pair).json()]
    for body in ({"instances": []}, {"instances": [{"photos": [{"b64": "%"}] * 2}]}, [], {"instances": [{}]}):
        assert predict(body).status_code == 400
    large = predict({"instances": [{"photos": [photos[0], {"b64": "A" * 33_333_336}]}]})  # 25,000,002 bytes
    assert (large.status_code, large.json()["error"]["code"], large.json()["error"]["photo"]) == (413, "too_large", 2)
    for name in ("other", "x" * 200):
        for unknown in (served.client.get(f"/v1/models/{name}"), predict({}, name)):
            assert (unknown.status_code, unknown.json()["error"]["code"]) == (404, "no_such_model")
    found = served.metrics()
    assert found['comface_serve_requests_total{path="/v1/models/{name}:predict",status="200"}'] == 1
    assert found['comface_serve_requests_total{path="/v1/models/{name}",status="404"}'] == 2


def test_each_answer_fits_its_description(served: Served, pair: tuple[bytes, bytes]) -> None:
    described = served.client.get("/openapi.json").json()

    def check(answer: httpx.Response) -> None:
        path = answer.request.url.path.replace("models/comface", "models/{name}")
        responses = described["paths"][path][answer.request.method.lower()]["responses"]
        schema = responses[str(answer.status_code)]["content"]["application/json"]["schema"]
        Draft202012Validator({**schema, "components": described["components"]}).validate(answer.json())

    photos = [{"b64": base64.b64encode(data).decode()} for data in pair]
    for body in ({"instances": [{"photos": photos}]}, {}):
        check(served.client.post("/v1/models/comface:predict", json=body))
    for path in ("/v1/model", "/v1/models/comface", "/healthz", "/readyz"):
        check(served.client.get(path))
    check(served.compare(*pair, pair[0], saliency="true"))
    check(served.compare(pair[0], b"hello"))
    assert {"404", "408"} <= described["paths"]["/v1/models/{name}:predict"]["post"]["responses"].keys()


def test_the_interface_is_described_without_the_internet(served: Served) -> None:
    described = served.client.get("/openapi.json").json()
    page = served.client.get("/docs").text
    assert all(path in page for path in described["paths"])
    for path in ("/", "/docs", "/page.css", "/page.js"):
        answer = served.client.get(path)
        assert answer.status_code == 200
        head = served.client.head(path)
        assert (head.status_code, head.content) == (200, b"")
        assert head.headers["content-length"] == answer.headers["content-length"]
        assert "http://" not in answer.text.replace("http://localhost:8080", "").replace("http://www.w3.org", "")


@pytest.mark.parametrize("path", ["/", "/page.js", "/v1/model", "/docs", "/nothing", "/v1/compare"])
def test_each_answer_has_headers_that_keep_a_browser_safe(served: Served, path: str) -> None:
    headers = served.client.get(path).headers
    assert headers["cache-control"] == "no-store"
    assert headers["x-content-type-options"] == "nosniff"
    assert "default-src 'none'" in headers["content-security-policy"]
    assert "unsafe" not in headers["content-security-policy"]
    assert "set-cookie" not in headers
    assert "server" not in headers
    foreign = served.client.get(path, headers={"origin": "https://elsewhere.example"}).headers
    assert not [name for name in foreign if name.startswith("access-control")]


@pytest.mark.parametrize(
    ("photos", "status", "code"),
    [
        ((b"hello", None), 415, "not_an_image"),
        ((None, b"\xff\xd8\xff\xe0broken"), 422, "unusable_photo"),
        ((None, hostile.encoded(Image.new("RGB", (200, 200), "white"), "PNG")), 422, "no_face"),
        ((None, hostile.png_of(20_000, 20_000)), 413, "too_many_pixels"),
        ((None, None, *[None] * 11), 413, "too_many_photos"),
        ((None,), 400, "too_few_photos"),
        ((None, bytes(25_000_001)), 413, "too_large"),
        ((None, *[bytes(20_000_000)] * 3), 413, "too_large"),
    ],
)
def test_a_request_that_cannot_be_answered_gets_one_sentence(
    served: Served, pair: tuple[bytes, bytes], photos: tuple[bytes | None, ...], status: int, code: str
) -> None:
    before = served.metrics().get(f'comface_serve_refusals_total{{reason="{code}"}}', 0)
    answer = served.compare(*(photo or pair[0] for photo in photos))
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code), answer.text
    assert answer.json()["error"]["message"].endswith(".")
    assert served.metrics()[f'comface_serve_refusals_total{{reason="{code}"}}'] == before + 1
    assert served.compare(*pair).status_code == 200


def test_bad_requests_are_refused_one_by_one_and_nothing_is_written(served: Served, pair: tuple[bytes, bytes]) -> None:
    flood(served, pair[0], 26)  # each kind once
    assert served.compare(*pair).status_code == 200
    assert [path for path in served.scratch.rglob("*") if path.is_file()] == []
    assert "etc/x" not in served.log.read_text()


def test_a_large_upload_stays_in_memory_and_a_worker_cannot_write_a_file(
    served: Served, pair: tuple[bytes, bytes]
) -> None:
    noise = Image.frombytes("RGB", (1400, 1400), os.urandom(3 * 1400**2))
    noise.paste(Image.open(io.BytesIO(pair[0])).resize((800, 800)), (300, 300))
    large = hostile.encoded(noise, "PNG")
    assert len(large) > 3_000_000  # the form reader of Starlette writes from 1 MB on
    seen: set[str] = set()
    stop = threading.Event()
    watching = threading.Thread(target=watch_files, args=(served, seen, stop))
    watching.start()
    answer = served.compare(large, pair[1])
    stop.set()
    watching.join()
    assert answer.status_code == 200, answer.text
    assert seen == {str(served.log)}
    for worker in served.workers():
        assert re.search(r"Max file size +0 +0 ", Path(f"/proc/{worker}/limits").read_text())


def watch_files(served: Served, seen: set[str], stop: threading.Event) -> None:
    """Collect every regular file that a process of the service has open for writing."""
    while not stop.is_set():
        for number in served.processes():
            folder = Path(f"/proc/{number}/fd")
            for link in folder.iterdir():
                try:
                    flags = int(Path(f"/proc/{number}/fdinfo/{link.name}").read_text().splitlines()[1].split()[1], 8)
                    if flags & 3 and Path(target := os.readlink(link)).is_file():
                        seen.add(target)
                except (OSError, IndexError):
                    continue
        time.sleep(0.002)


def test_too_many_requests_are_told_to_come_back_and_the_service_recovers(
    served: Served, pair: tuple[bytes, bytes]
) -> None:
    with ThreadPoolExecutor(24) as clients:
        answers = list(clients.map(lambda _: served.compare(*pair), range(24)))
    counts = Counter(answer.status_code for answer in answers)
    assert set(counts) == {200, 429}
    assert counts[200] >= 5  # one in work, four in the queue
    assert all(answer.headers["retry-after"] for answer in answers if answer.status_code == 429)
    assert served.compare(*pair).status_code == 200
    assert served.metrics()["comface_serve_requests_admitted"] == 0
    assert served.metrics()["comface_serve_upload_bytes"] == 0


def test_a_worker_that_is_lost_is_replaced(served: Served, pair: tuple[bytes, bytes]) -> None:
    (lost,) = served.workers()
    os.kill(lost, signal.SIGKILL)
    while not re.search(r"\nState:\s+Z", Path(f"/proc/{lost}/status").read_text()):
        time.sleep(0.01)
    assert served.compare(*pair).status_code == 200  # its photos were not the reason
    assert served.metrics()["comface_serve_worker_restarts_total"] == 1


def test_sigterm_answers_what_is_in_work(served: Served, pair: tuple[bytes, bytes]) -> None:
    """The last test of this server."""

    def taken() -> float:
        found = served.metrics()
        done = sum(value for name, value in found.items() if re.match(r".*requests_total\{path=./v1/compare", name))
        return done + found["comface_serve_requests_admitted"]

    before = taken()
    with ThreadPoolExecutor(5) as clients:
        answers = [clients.submit(served.compare, *pair) for _ in range(5)]
        while taken() < before + 5:
            time.sleep(0.005)
        served.process.send_signal(signal.SIGTERM)
        assert [answer.result().status_code for answer in answers] == [200] * 5
    assert served.stop() == 143
    assert served.log.read_text().splitlines()[-1] == "comface serve: stopped; the requests in work were answered."


@pytest.mark.system
def test_ten_thousand_bad_requests_end_no_process_and_memory_stays_bounded(
    random_model: str, pair: tuple[bytes, bytes], tmp_path: Path
) -> None:
    served = Served.start(random_model, tmp_path / "served").ready()
    try:
        flood(served, pair[0], 300)
        warm_bytes, processes = served.memory_bytes(), served.processes()
        most_bytes, counts = 0, Counter[int]()
        for seed in range(20):
            counts += flood(served, pair[0], 500, seed=seed)
            most_bytes = max(most_bytes, served.memory_bytes())
        found = served.metrics()
        slow = found.get('comface_serve_refusals_total{reason="took_too_long"}', 0)
        print(
            dict(counts),
            f"{warm_bytes / 1e6:.0f} MB after 300 requests, at most {most_bytes / 1e6:.0f} MB;",
            slow,
            "slow",
        )
        assert served.compare(*pair).status_code == 200
        assert 'comface_serve_refusals_total{reason="unreadable_photo"}' not in found  # none ended a decoder
        assert found["comface_serve_worker_restarts_total"] == slow  # on a busy machine a photo can take 30 s
        assert served.processes()[0] == processes[0]
        assert slow or served.processes() == processes
        assert most_bytes < warm_bytes + 300e6
        assert [path for path in served.scratch.rglob("*") if path.is_file()] == []
    finally:
        served.stop()
