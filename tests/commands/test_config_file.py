"""`--config FILE.yaml`: fields of a file change the profile, --set changes both, and an error names file and line."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from comface.cli import main
from comface.errors import ConfigurationError
from comface.plan.chosen import Chosen
from comface.plan.config_file import read_config
from comface.plan.configuration import resolve
from comface.plan.from_parameters import configure
from comface.plan.parameters import Parameters, override_mapping

ROOT = Path(__file__).resolve().parents[2]
STUDY = """\
# A study
profile: paper
store: s3://clinic/artifacts
data:
  my-study: {layout: pairs, uri: /data/my-study, labels: [fatigue]}
tasks:
  fatigue: {dataset: my-study, label: fatigue, unit: "1:20", direction_accuracy: true}
transfer: {tasks: [fatigue]}
pretrain:
  epochs: 7
  learning_rate: 1e-05
register: {must_beat: null}
"""


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "study.yaml").write_text(STUDY)
    return tmp_path / "study.yaml"


def shown(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, object]:
    assert main(["config", *arguments]) == 0, capsys.readouterr().err
    return yaml.safe_load(capsys.readouterr().out)


def said(capsys: pytest.CaptureFixture[str], text: str, *arguments: str) -> str:
    Path("wrong.yaml").write_text(text)
    assert main(["config", "--config", "wrong.yaml", *arguments]) == 64
    output = capsys.readouterr()
    assert output.out == ""
    return output.err


def test_a_file_changes_the_profile_and_set_changes_both(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = shown(capsys, "--config", "study.yaml", "--set", "pretrain={epochs: 9}", "--set", "shard.seed=3")
    assert found["profile"] == "paper"
    assert found["store"] == "s3://clinic/artifacts"
    assert found["data"]["my-study"]["labels"] == ["fatigue"]
    assert "fgnet" in found["data"], "what the profile has stays"
    assert found["tasks"]["fatigue"]["unit"] == "1:20", "text stays text"
    assert (found["pretrain"]["epochs"], found["pretrain"]["learning_rate"]) == (9, 1e-05)
    assert (found["shard"]["seed"], found["register"]["must_beat"]) == (3, None)


def test_the_command_line_beats_the_files_profile_and_store(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = shown(capsys, "--config", "study.yaml", "--profile", "laptop", "--store", "/elsewhere")
    assert (found["profile"], found["store"]) == ("laptop", "file:///elsewhere")
    assert found["pretrain"]["epochs"] == 7


def test_the_laptops_store_is_where_run_puts_it_and_never_a_folder_that_all_users_share(
    study: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = (study.parent / "runs" / "laptop" / "store").as_uri()
    assert resolve("laptop").store == Chosen(None, None, ()).configuration().store == own
    assert shown(capsys)["store"] == own


def test_what_config_prints_is_a_file_that_means_the_same(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for profile in ("laptop", "workstation", "paper"):
        assert main(["config", "--profile", profile]) == 0
        text = capsys.readouterr().out
        Path("printed.yaml").write_text(text)
        assert main(["config", "--config", "printed.yaml"]) == 0
        assert capsys.readouterr().out == text


def test_the_pipeline_gets_the_same_configuration_as_overrides(study: Path) -> None:
    file = read_config(study)
    lines = [*file.overrides(), "transfer={tasks: [age, fatigue]}", "pretrain.epochs=8"]
    wanted = resolve("laptop", lines)
    assert configure(Parameters("laptop", override_mapping(lines), store="s3://clinic/artifacts")) == wanted
    assert wanted.transfer.tasks == ("age", "fatigue"), "a section of --set beats a field of the file"


def test_the_yaml_of_the_page_is_a_configuration(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = (ROOT / "docs" / "data.md").read_text()
    study.write_text(page.partition("## In a configuration file")[2].partition("```yaml\n")[2].partition("```")[0])
    assert shown(capsys, "--config", "study.yaml")["transfer"]["tasks"] == ["au12", "edema-a", "fatigue"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("pretrain:\n  epoch: 3\n", "The configuration's 'pretrain.epoch' (wrong.yaml, line 2) is not a field; see"),
        ("pretain: {epochs: 3}\n", "The configuration's 'pretain' (wrong.yaml, line 1) is not a field"),
        ("\n\ntransfer:\n  tasks:\n  - age\n  - 3\n", "'transfer.tasks.1' (wrong.yaml, line 6) is wrong"),
        ("data: {x: {layout: cube}}\n", "'data.x.layout' (wrong.yaml, line 1) is wrong"),
        ("shard: {seed: yes}\n", "'shard.seed' (wrong.yaml, line 1) is wrong"),
        ("shard: {seed: 1}\nshard: {seed: 2}\n", "line 2 is not YAML of plain data (the key 'shard' twice)"),
        ("shard:\n  seed: &a 1\npretrain:\n  seed: *a\n", "'wrong.yaml', line 4 is not YAML of plain data (an alias)"),
        ("shard: {seed: 1\n", "'wrong.yaml', line 2 is not YAML of plain data (expected ',' or '}'"),
        ("shard:\n  seed: !!python/name:os.system x\n", "line 2 is not YAML of plain data"),
        ("[" * 30, "is not YAML of plain data (more than 20 levels)"),
        ("a: " + "x" * 60_000, "is not YAML of plain data (more than 50,000 characters)"),
        ("a: " + "x" * 300_000, "has 0.3 MB, more than the limit of 0.2 MB for such a file"),
        ("- shard\n", "The configuration 'wrong.yaml' is not a mapping; write"),
        ("profile: [laptop]\n", "The profile of the configuration 'wrong.yaml' is not a name"),
        ("profile: desk\n", "There is no profile 'desk'"),
        ("store: s3://key:word@b/x\n", "The value of store contains credentials"),
        ("data: {x: {layout: pairs, uri: 's3://k:secret-word@b'}}\n", "The value of data.x.uri contains credentials"),
        ("screening: {seed: 3, \x1b: 1}\n", "is not YAML of plain data"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_one_sentence_with_file_and_line(
    study: Path, capsys: pytest.CaptureFixture[str], text: str, expected: str
) -> None:
    sentence = said(capsys, text)
    assert expected in sentence
    assert sentence.startswith("comface: ")
    assert sentence.count("\n") == 1
    assert "secret-word" not in sentence


def test_a_field_that_set_says_again_is_not_the_files(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sentence = said(capsys, "pretrain: {epochs: 3}\n", "--set", "pretrain.epochs=0")
    assert "The configuration's 'pretrain.epochs' is wrong" in sentence


def test_a_file_that_cannot_be_read_is_named(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, expected in (("absent.yaml", "'absent.yaml' does not exist"), ("/dev/zero", "/dev/zero")):
        assert main(["config", "--config", name]) == 64
        assert expected in capsys.readouterr().err
    Path("latin.yaml").write_bytes("a: ü".encode("latin-1"))
    with pytest.raises(ConfigurationError, match=r"'latin.yaml' is not UTF-8 text; save it as UTF-8\."):
        read_config(Path("latin.yaml"))
    Path("empty.yaml").write_text("# nothing yet\n")
    assert read_config(Path("empty.yaml")).overrides() == []
