"""Other registries get every version and alias; what failed half-way is completed by the next call, never doubled."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from free_port import free_port
from model_registry_api import ModelRegistryServer, model_registry_server

from comface.artifacts.manifest import Draft
from comface.cli import main
from comface.config.reading import parse
from comface.errors import ConfigurationError, DataError, TryAgain
from comface.models.config import RegistryConfig
from comface.models.mirrors import bring_in_step, mirror_registry, open_mirror
from comface.models.mirrors.interface import Entry, Mirror
from comface.models.mirrors.kubeflow import KubeflowMirror
from comface.models.registry import Registry
from comface.models.signing import public_text, sign, trust
from comface.store import FileStore

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
TASK = {"corr": 0.6, "mae": 1.0, "subjects": 9, "pairs": 90, "coverage": 0.9, "interval": None, "rehearsal": True}
FACTS: dict[str, Any] = {"name": "comface", "tasks": {"smile": TASK}, "metrics": []}


def add_version(registry: Registry, content: str) -> None:
    draft = Draft(registry.store, "model", {"content": content}, {}, {"test": 1})
    draft.write("card.md", content.encode())
    registry.register(draft.publish(FACTS), NOW)


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    """Two versions, the second of which is the champion."""
    registry = Registry(FileStore(tmp_path / "store"), "comface")
    for content in "ab":
        add_version(registry, content)
    registry.promote(2, NOW)
    return registry


@pytest.fixture
def kubeflow() -> Iterator[tuple[ModelRegistryServer, str]]:
    with model_registry_server() as served:
        yield served
        assert served[0].refused == [], "every request follows the published API"


@pytest.fixture(scope="module")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MLflow makes the tables of a new database in seconds; tests copy one."""
    path = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    open_mirror("mlflow", f"sqlite:///{path}").versions("comface")
    return path


@pytest.fixture
def mlflow(empty_database: Path, tmp_path: Path) -> str:
    shutil.copy(empty_database, tmp_path / "mlflow.db")
    return f"sqlite:///{tmp_path}/mlflow.db"


@pytest.fixture(params=["mlflow", "kubeflow"])
def mirror(request: pytest.FixtureRequest) -> Mirror:
    if request.param == "mlflow":
        return open_mirror("mlflow", request.getfixturevalue("mlflow"))
    return open_mirror("kubeflow", request.getfixturevalue("kubeflow")[1])


def there(mirror: Mirror) -> tuple[dict[int, str], dict[str, int]]:
    return mirror.versions("comface"), mirror.aliases("comface")


def here(registry: Registry) -> tuple[dict[int, str], dict[str, int]]:
    versions = {each.number: each.sha256 for each in registry.versions()}
    return versions, {alias: each.number for alias, each in registry.aliases().items()}


def test_a_mirror_gets_all_versions_and_aliases_and_follows_every_change(registry: Registry, mirror: Mirror) -> None:
    assert mirror.versions("comface") == {}
    assert "2 versions of 'comface' (2 added now)" in bring_in_step(registry, mirror)
    assert there(mirror) == here(registry)
    add_version(registry, "c")
    registry.point("ward-7", 1, NOW)
    registry.promote(3, NOW)
    assert "(1 added now)" in bring_in_step(registry, mirror)
    assert there(mirror) == here(registry)
    registry.rollback(NOW)
    registry.point("ward-7", None, NOW)
    assert "(0 added now)" in bring_in_step(registry, mirror)
    assert there(mirror) == here(registry)
    assert there(mirror)[1] == {"champion": 2}


def test_aliases_that_people_set_there_stay(registry: Registry, mirror: Mirror) -> None:
    bring_in_step(registry, mirror)
    mirror.set_aliases("comface", {"theirs": 1}, frozenset())
    registry.promote(1, NOW)
    bring_in_step(registry, mirror)
    assert there(mirror)[1] == {"champion": 1, "theirs": 1}


def test_another_model_under_the_same_number_is_an_error_and_stays(registry: Registry, mirror: Mirror) -> None:
    mirror.add(Entry("comface", 1, "s3://elsewhere/model/x", "ab" * 32, {}))
    with pytest.raises(ConfigurationError, match="has another model as comface@v1"):
        bring_in_step(registry, mirror)
    versions, aliases = there(mirror)
    assert versions == {1: "ab" * 32, 2: registry.version(2).sha256}
    assert aliases == {"champion": 2}, "the other version is copied nevertheless"


def test_a_model_that_was_changed_or_is_not_signed_is_not_copied(registry: Registry, mirror: Mirror) -> None:
    private = Ed25519PrivateKey.generate()
    trust([public_text(private)])
    try:
        with pytest.raises(DataError, match="has no signature of a trusted key"):
            bring_in_step(registry, mirror)
        sign(registry.unchecked(registry.version(1)), private)
        with pytest.raises(DataError, match="has no signature of a trusted key"):
            bring_in_step(registry, mirror)
        assert there(mirror) == ({1: registry.version(1).sha256}, {}), "v2, the champion, is not signed"
    finally:
        trust(())
    registry.unchecked(registry.version(2)).store.write("card.md", b"x")
    with pytest.raises(DataError, match="does not match its manifest"):
        bring_in_step(registry, mirror)
    assert there(mirror) == ({1: registry.version(1).sha256}, {})


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("at", range(1, 5))
def test_whichever_request_fails_the_next_call_completes_the_copy(
    tmp_path: Path, kubeflow: tuple[ModelRegistryServer, str], at: int, after: bool
) -> None:
    api, address = kubeflow
    registry = Registry(FileStore(tmp_path / "store"), "comface")
    add_version(registry, "a")
    registry.promote(1, NOW)
    mirror = KubeflowMirror(address)
    api.failing(at, after)
    with pytest.raises(TryAgain, match="could not do a request"):
        bring_in_step(registry, mirror)
    api.failing(0)
    bring_in_step(registry, mirror)
    assert there(mirror) == here(registry)
    assert len(api.models) == 1
    assert [each["name"] for each in api.versions.values()] == ["v1"]
    assert [each["uri"] for each in api.artifacts.values()] == [
        registry.unchecked(version).uri for version in registry.versions()
    ]
    before = len([each for each in api.requests if not each.startswith("GET")])
    bring_in_step(registry, mirror)
    assert len([each for each in api.requests if not each.startswith("GET")]) == before, "nothing is left to do"


def test_a_short_failure_is_tried_again_and_a_long_one_ends_with_75(
    registry: Registry, kubeflow: tuple[ModelRegistryServer, str], mlflow: str
) -> None:
    api, address = kubeflow
    pauses: list[float] = []
    api.failing(2)
    (sentence,) = mirror_registry(registry, {"kubeflow": address}, pauses.append)
    assert "has all 2 versions" in sentence
    assert pauses == [1.0]
    nobody = f"http://127.0.0.1:{free_port()}"
    with pytest.raises(TryAgain, match="run `comface models mirror comface`") as error:
        mirror_registry(registry, {"kubeflow": nobody, "mlflow": mlflow}, pauses.append)
    assert error.value.exit_code == 75
    assert there(open_mirror("mlflow", mlflow)) == here(registry), "the other mirror is in step nevertheless"


def test_many_versions_are_read_page_by_page(registry: Registry, kubeflow: tuple[ModelRegistryServer, str]) -> None:
    api, address = kubeflow
    api.page_size = 2
    for content in "cde":
        add_version(registry, content)
    mirror = KubeflowMirror(address)
    bring_in_step(registry, mirror)
    assert there(mirror) == here(registry)


def test_a_token_comes_from_a_file_and_a_wrong_one_is_said_without_it(registry: Registry, tmp_path: Path) -> None:
    with model_registry_server(token="right") as (_, address):
        (tmp_path / "token").write_text("right\n")
        environment = {"KF_PIPELINES_SA_TOKEN_PATH": str(tmp_path / "token")}
        bring_in_step(registry, KubeflowMirror(address, environment))
        (tmp_path / "token").write_text("wr0ng")
        with pytest.raises(ConfigurationError, match="refused the token") as error:
            bring_in_step(registry, KubeflowMirror(address, environment))
        assert "wr0ng" not in str(error.value)
        (tmp_path / "token").unlink()
        with pytest.raises(ConfigurationError, match="cannot be read"):
            bring_in_step(registry, KubeflowMirror(address, environment))


def test_a_server_of_another_kind_is_refused(registry: Registry, tmp_path: Path) -> None:
    import http.server
    import threading

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        for name in ("kubeflow", "mlflow"):
            with pytest.raises((ConfigurationError, TryAgain)) as error:
                bring_in_step(registry, open_mirror(name, f"http://127.0.0.1:{server.server_port}"))
            assert str(error.value).endswith(".")
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize(
    "address",
    [
        "http://user:s3cr3t@host",
        "http://host?token=s3cr3t",
        "ftp://host",
        "host:5000",
        "",
        "http://",
        "s3://bucket",
        "a b",
    ],
)
def test_an_address_with_credentials_or_of_another_kind_is_refused(address: str) -> None:
    with pytest.raises(ConfigurationError, match=r"^The configuration's 'mirrors\.mlflow' is wrong: ") as error:
        parse(RegistryConfig, {"mirrors": {"mlflow": address}})
    assert "s3cr3t" not in str(error.value)


def test_promotion_by_command_reaches_the_mirror_and_says_what_failed(
    registry: Registry,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    kubeflow: tuple[ModelRegistryServer, str],
    mlflow: str,
) -> None:
    _, address = kubeflow
    store = str(registry.store.uri)
    (tmp_path / "c.yaml").write_text(f"registry:\n  mirrors:\n    mlflow: {mlflow}\n    kubeflow: {address}\n")
    where = ["--config", str(tmp_path / "c.yaml"), "--store", store]
    assert main(["models", "promote", "comface@v1", *where]) == 0
    assert capsys.readouterr().out == "comface@v1 is now the champion (previously comface@v2)\n"
    assert main(["models", "alias", "comface@v1", "ward-9", *where]) == 0
    for mirror in (open_mirror("mlflow", mlflow), open_mirror("kubeflow", address)):
        assert there(mirror) == here(registry)
    capsys.readouterr()
    assert main(["models", "mirror", "comface", *where]) == 0
    assert capsys.readouterr().out.count("has all 2 versions of 'comface' (0 added now)") == 2
    assert main(["models", "mirror", "comface", "--store", store]) == 64
    assert main(["models", "mirror", "nobody", *where]) == 64


def test_the_register_step_mirrors_and_a_retry_completes_it(
    make_chain: Callable, tmp_path: Path, kubeflow: tuple[ModelRegistryServer, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from comface.register.config import RegisterConfig
    from comface.register.from_plan import RegisterPlan, register_model

    api, address = kubeflow
    chain = make_chain()
    evaluation = Draft(
        chain.store, "evaluation", {}, {f"transfer-{i}": each for i, each in enumerate(chain.transfers)}, {"test": 1}
    ).publish({})
    plan = RegisterPlan(
        store=chain.store.uri, register=RegisterConfig(), registry=RegistryConfig(mirrors={"kubeflow": address})
    )
    monkeypatch.setattr("comface.models.mirrors.PAUSES_S", ())
    api.failing(3, after=True)
    with pytest.raises(SystemExit, match="75"):
        register_model(plan.text, evaluation.uri, [chain.backbone.uri], str(tmp_path / "card"))
    api.failing(0)
    assert register_model(plan.text, evaluation.uri, [chain.backbone.uri], str(tmp_path / "card"))[0] == ("comface@v1")
    registry = Registry(chain.store, "comface")
    assert there(KubeflowMirror(address)) == here(registry)
    (version,) = api.versions.values()
    assert version["customProperties"]["corr smile"]["string_value"].startswith("0.6")
    assert json.dumps(api.artifacts).count("comface-v1") == 1
