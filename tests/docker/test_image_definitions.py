"""What can be said of the images without building them: pinned, hashed, not root, described, no stray file inside."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
DOCKER = ROOT / "docker"
FINAL = ("cpu", "gpu", "serving")
DIGEST = re.compile(r"@sha256:[0-9a-f]{64}$")
LABELS = {"title", "version", "revision", "source", "licenses"}


def instructions() -> list[tuple[str, str]]:
    text = re.sub(r"^\s*#.*\n", "", (DOCKER / "Dockerfile").read_text(), flags=re.MULTILINE)
    lines = re.sub(r"\\\n\s*", " ", text).splitlines()
    return [(line.partition(" ")[0], line.partition(" ")[2]) for line in lines if line]


def stages() -> dict[str, tuple[str, list[tuple[str, str]]]]:
    """Each stage's name: what it starts from, and its instructions."""
    found: dict[str, tuple[str, list[tuple[str, str]]]] = {}
    for word, rest in instructions():
        if word == "FROM":
            origin, _, name = rest.partition(" AS ")
            found[name] = (origin, [])
        elif found:
            found[name][1].append((word, rest))
    return found


def lineage(name: str) -> list[tuple[str, str]]:
    """The instructions that make the files and settings of a final image, from its base on."""
    origin, own = stages()[name]
    return [*(lineage(origin) if origin in stages() else []), *own]


def requirements(name: str) -> dict[str, tuple[str, int]]:
    """Version and number of hashes of each package."""
    text = (DOCKER / f"requirements-{name}.txt").read_text().replace("\\\n", "")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return {
        re.split("[=;]", line)[0]: (re.search("==([^ ;]+)", line)[1], line.count("--hash=sha256:"))  # type: ignore[index]
        for line in lines
    }


def pinned() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    return {re.sub("[-_.]+", "-", name).lower(): version for name, version in (line.split("==") for line in lines)}


def test_the_base_is_pinned_by_digest_and_every_stage_starts_from_it() -> None:
    default = dict(entry.split("=", 1) for word, entry in instructions() if word == "ARG" and "=" in entry)["BASE"]
    assert DIGEST.search(default)
    known = {"${BASE}"}
    for name, (origin, _) in stages().items():
        assert origin in known
        known.add(name)


@pytest.mark.parametrize("name", FINAL)
def test_a_final_image_ends_as_a_numbered_user_and_can_install_nothing(name: str) -> None:
    words = lineage(name)
    assert [rest for word, rest in words if word == "USER"][-1] == "10001:10001"
    installing = [rest for word, rest in words if word == "RUN" and re.search(r"apt-get|pip install|gcc|make", rest)]
    assert installing == []


@pytest.mark.parametrize("name", FINAL)
def test_a_final_image_says_what_it_is(name: str) -> None:
    labels = " ".join(rest for word, rest in lineage(name) if word == "LABEL")
    assert {label for label in LABELS if f"org.opencontainers.image.{label}=" in labels} == LABELS


def settings(name: str) -> dict[str, str]:
    words = " ".join(rest for word, rest in lineage(name) if word == "ENV").split()
    return dict(entry.split("=", 1) for entry in words)


@pytest.mark.parametrize("name", FINAL)
def test_everything_that_is_written_in_an_image_goes_below_tmp(name: str) -> None:
    folders = ["HOME", "TMPDIR", "XDG_CACHE_HOME", "MPLCONFIGDIR", *(["TRITON_CACHE_DIR"] if name == "gpu" else [])]
    assert all(settings(name)[key].startswith("/tmp") for key in folders)


def test_triton_starts_without_a_compiler_from_what_was_compiled_with_the_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build = pytest.importorskip("triton.runtime.build")
    assert settings("gpu")["CC"] == "/opt/comface/libexec/triton-cc"
    copied = [rest for word, rest in lineage("gpu") if word == "COPY"]
    assert {"--from=launcher /opt/launcher /opt/comface/lib/triton", "docker/triton-cc /opt/comface/libexec/"} <= {
        *copied
    }
    compiler, made, scratch = tmp_path / "libexec/triton-cc", tmp_path / "lib/triton", tmp_path / "scratch"
    for folder in (compiler.parent, made, scratch):
        folder.mkdir(parents=True)
    shutil.copy(DOCKER / "triton-cc", compiler)
    source, other = tmp_path / "source.c", tmp_path / "other.c"
    source.write_text("int one;")
    other.write_text("int two;")
    shutil.copy(source, made / "driver.c")
    (made / "driver.so").write_bytes(b"compiled")
    monkeypatch.setenv("CC", str(compiler))
    monkeypatch.setattr(build, "_find_compiler", build._find_compiler.__wrapped__)  # without its memory
    options = (str(scratch), ["/usr/lib"], ["/usr/include"], ["libcuda.so.1"], [])
    found = build._build("cuda_utils", str(source), *options)
    assert Path(found).read_bytes() == b"compiled"
    with pytest.raises(subprocess.CalledProcessError):
        build._build("cuda_utils", str(other), *options)


def test_packages_are_installed_with_hashes_and_pip_reads_its_settings_from_a_secret() -> None:
    online = [rest for word, rest in instructions() if "pip install" in rest and "--no-index" not in rest]
    assert len(online) == 4
    assert all("--require-hashes" in rest and "--mount=type=secret,id=pip" in rest for rest in online)


def test_what_is_copied_into_a_build_is_let_in_by_the_ignore_file_and_nothing_else_is() -> None:
    rules = (ROOT / ".dockerignore").read_text().splitlines()
    assert rules[1] == "*"
    let_in = {rule[1:] for rule in rules if rule.startswith("!")}
    copied = {
        source
        for word, rest in instructions()
        if word == "COPY" and "--from" not in rest
        for source in rest.split()[:-1]
    } | set(re.findall(r"type=bind,source=([^,]+)", (DOCKER / "Dockerfile").read_text()))
    assert all(any(fnmatch(source, rule) for rule in let_in) for source in copied)
    assert all(any(fnmatch(source, rule) for source in copied) for rule in let_in)


@pytest.mark.parametrize("name", ["build", "cpu", "gpu", "serve"])
def test_every_requirement_has_hashes_and_the_version_that_is_tested_here(name: str) -> None:
    wanted = requirements(name)
    assert wanted
    assert [package for package, (_, hashes) in wanted.items() if not hashes] == []
    tested = pinned()
    assert {
        package: version for package, (version, _) in wanted.items() if tested.get(package, version) != version
    } == {}


def test_the_requirements_hold_what_the_package_asks_for_the_large_images_triton_and_the_small_one_no_torch() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    runs = [*project["dependencies"], *extras["train"], *extras["cluster"]]
    everything = [entry for entries in extras.values() for entry in entries if not entry.startswith("comface[")]
    serves = [entry for entry in (*project["dependencies"], *extras["serve"]) if not entry.startswith("triton")]
    for file, entries in (("gpu", runs), ("serve", serves), ("dev", [*runs, *everything])):
        assert {re.split(r"[\[<>=;]", entry)[0] for entry in entries} <= set(requirements(file)), file
    assert "triton" in requirements("gpu")
    assert not {"torch", "torchvision", "timm", "onnxruntime"} & set(requirements("cpu"))
    assert not {"triton", "kfp", "kubernetes", "matplotlib"} & set(requirements("serve"))
    assert not [package for package in requirements("cpu") if package.startswith(("nvidia", "cuda", "triton"))]


def test_data_files_of_the_package_are_installed_with_it() -> None:
    patterns = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]["comface"]
    package = ROOT / "components" / "comface"
    data = {path for path in package.rglob("*") if path.is_file() and path.suffix not in (".py", ".pyc")}
    assert data
    assert data == {path for pattern in patterns for path in package.glob(pattern) if path.is_file()}


def compose() -> dict[str, dict[str, object]]:
    return yaml.safe_load((DOCKER / "compose.yaml").read_text())["services"]


def test_images_of_others_are_named_by_digest_and_none_is_the_latest() -> None:
    for service in compose().values():
        image = str(service["image"])
        assert DIGEST.search(image) or re.fullmatch(r"comface-[a-z-]*python:\d+\.\d+\.\d+", image)
    assert not [path for path in DOCKER.iterdir() if "latest" in path.read_text() and path.suffix != ".txt"]


@pytest.mark.parametrize("name", compose())
def test_a_composed_service_is_read_only_without_capabilities_and_seen_by_this_machine_alone(name: str) -> None:
    service = compose()[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert all(str(port).startswith("127.0.0.1:") for port in service.get("ports", []))  # type: ignore[union-attr]


def test_no_password_is_written_into_the_compose_file() -> None:
    for service in compose().values():
        for key, value in dict(service.get("environment", {})).items():  # type: ignore[call-overload]
            assert ("PASSWORD" not in key and "SECRET" not in key) or str(value).startswith("${")


def tool(name: str) -> str:
    found = shutil.which(name, path=str(Path(sys.executable).parent)) or shutil.which(name)
    return found or pytest.skip(f"{name} is not installed; `make setup` brings it")


def scripts() -> Iterator[Path]:
    for folder in ("docker", "k8s", ".ci"):
        yield from (path for path in (ROOT / folder).rglob("*") if path.is_file() and is_shell(path))


def is_shell(path: Path) -> bool:
    with path.open("rb") as file:
        return re.match(rb"#!.*\b(ba)?sh\n", file.readline()) is not None


def test_the_definition_is_clean_for_hadolint() -> None:
    done = subprocess.run([tool("hadolint"), DOCKER / "Dockerfile"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize("script", list(scripts()), ids=lambda path: path.name)
def test_a_shell_script_is_clean_for_shellcheck(script: Path) -> None:
    done = subprocess.run([tool("shellcheck"), script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")
