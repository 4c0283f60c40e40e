"""Every field of the configuration, found by walking its models: bounded, and one clear answer whatever it is given."""

from __future__ import annotations

import time
from collections.abc import Iterator
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import pytest
from annotated_types import Ge, Gt, Le, Lt
from pydantic import AfterValidator, BaseModel
from pydantic.fields import FieldInfo

from comface.cli import main
from comface.errors import ComfaceError, ConfigurationError
from comface.plan.checks import configuration_checks
from comface.plan.configuration import RunConfig, resolve
from comface.plan.sizes import sizes_of

ANSWER_S = 2.0
KEYS = {"data": "fgnet", "tasks": "age", "directions": "stylegan3.smiling"}
"""A key for each mapping, so that fields inside it can be named."""
ITEMS = {
    "composition": "{{generator: procedural, identities: 60, attributes: [age], {field}: {value}}}",
    "thresholds": "{{task: age, min_corr: 0.1, {field}: {value}}}",
}
"""An item for each list of models."""
NUMBERS = ("1e308", "1e30", "100000000000000000000", "1000000000", "1e-300", "-1", "0", ".nan", ".inf", "-.inf", "many",
           "''", "null", "true", "[1]", "{a: 1}", "!!int x", "!!float x", "!!timestamp x", "!!python/name:os.system ''",
           "9" * 5000)  # fmt: skip
WORDS = ("'../../q'", '"\\e[2J"', '"a\\nb"', "'" + "x" * 300 + "'", "=cmd|x", "<script>alert(1)</script>", "'a\\1b'",
         "''", "1", "null", "[a]", '"\\u202e"', "!!binary aGk=")  # fmt: skip
BOMBS = {
    "brackets": "[" * 2000,
    "nested": "[" * 500 + "]" * 500,
    "braces": "{a: " * 2000,
    "laughs": "&a [" + ", ".join("x" * 9) + "], &b [*a, *a, *a, *a]",
    "merge": "{<<: {a: 1}, b: 2}",
    "int": '!!int "x"',
    "float": "!!float y",
    "time": "!!timestamp z",
    "set": "!!set {a}",
    "object": "!!python/object/apply:os.system ['true']",
    "huge": "a" * 100_000,
    "colons": "s://" + ":" * 100_000,
    "twice": "{epochs: 3, epochs: 4}",
    "digits": "9" * 10_000,
    "nul": "\0",
    "tab": "\t{a",
    "unicode": "\ud800",
}


class Leaf:
    """A field that holds numbers or text, and how an override reaches it."""

    def __init__(self, path: str, field: FieldInfo, item: str = "") -> None:
        self.path, self.field, self.item = path, field, item
        self.parts = list(parts_of(field))

    def override(self, value: str) -> str:
        if self.item:
            return (
                f"{self.path.rpartition('.')[0]}=[{self.item.format(field=self.path.rpartition('.')[2], value=value)}]"
            )
        return f"{self.path}={value}"


def parts_of(field: FieldInfo) -> Iterator[Any]:
    """The types and constraints of a field, through Annotated, tuples and unions."""
    todo = [field.annotation, *field.metadata]
    while todo:
        part = todo.pop(0)
        yield part
        if isinstance(part, FieldInfo):
            todo += [part.annotation, *part.metadata]
        elif get_origin(part) is Annotated:
            todo += [part.__origin__, *part.__metadata__]
        elif get_origin(part) in (tuple, Union, UnionType, dict):
            todo += get_args(part)


def leaves(model: type[BaseModel], prefix: str = "", item: str = "") -> Iterator[Leaf]:
    for name, field in model.model_fields.items():
        path = f"{prefix}{field.alias or name}"
        inner = [part for part in parts_of(field) if isinstance(part, type) and issubclass(part, BaseModel)]
        if not inner:
            yield Leaf(path, field, item=item)
        elif name in ITEMS:
            yield from leaves(inner[0], f"{path}.", ITEMS[name])
        else:
            yield from leaves(inner[0], f"{path}.{KEYS[name]}." if name in KEYS else f"{path}.")


FIELDS = list(leaves(RunConfig))
NUMERIC = [leaf for leaf in FIELDS if int in leaf.parts or float in leaf.parts]
TEXT = [leaf for leaf in FIELDS if str in leaf.parts]


def test_the_walk_meets_every_section() -> None:
    paths = {leaf.path for leaf in FIELDS}
    assert {"synthesize.alpha_step", "synthesize.composition.identities", "pretrain.job.cpus", "tasks.age.unit",
            "pretrain.augmentation.hue", "register.thresholds.min_corr", "data.fgnet.face_size_px",
            "synthesize.directions.stylegan3.smiling.layers"} <= paths  # fmt: skip
    assert len(NUMERIC) > 90
    assert len(TEXT) > 20


def test_every_number_has_a_lowest_and_a_highest_value() -> None:
    for leaf in NUMERIC:
        assert any(isinstance(part, Ge | Gt) for part in leaf.parts), f"{leaf.path} has no lowest value"
        assert any(isinstance(part, Le | Lt) for part in leaf.parts), f"{leaf.path} has no highest value"


def test_every_text_is_checked_and_every_list_and_mapping_bounded() -> None:
    for leaf in TEXT:
        assert any(isinstance(part, AfterValidator) for part in leaf.parts), f"{leaf.path} takes any text"
    for leaf in FIELDS:
        endless = [p for p in leaf.parts if get_origin(p) is tuple and get_args(p)[-1:] == (Ellipsis,)]
        of_choices = any(get_origin(part) is Literal for part in leaf.parts)
        limited = any("max_length" in repr(part).lower() or "maxlen" in repr(part).lower() for part in leaf.parts)
        assert not endless or of_choices or limited, f"{leaf.path} may be endless"


def answer(override: str) -> str:
    """What a run says of the override before it opens anything; empty where it is fine."""
    started = time.monotonic()
    try:
        config = resolve("laptop", [override], {"store": "file:///somewhere"})
        sizes_of(config).sentence()
        for check in configuration_checks(config):
            check.ask()
    except ConfigurationError as error:
        said = str(error)
    else:
        said = ""
    assert time.monotonic() - started < ANSWER_S, override
    assert said.replace("\n", "").isprintable()
    assert len(said) < 3000, said
    for word in ("Traceback", "pydantic", "validator", "../../q'\n"):
        assert word not in said
    return said


@pytest.mark.parametrize("leaf", NUMERIC, ids=lambda leaf: leaf.path)
def test_whatever_a_number_is_given_is_taken_or_refused_in_a_sentence_at_once(leaf: Leaf) -> None:
    for value in NUMBERS:
        said = answer(leaf.override(value))
        if value in ("1e308", "1e30", ".nan", ".inf", "-.inf", "many", "{a: 1}", "true") or value.startswith("!!"):
            assert said, f"{leaf.override(value)} is taken"


@pytest.mark.parametrize("leaf", TEXT, ids=lambda leaf: leaf.path)
def test_whatever_a_text_is_given_is_taken_or_refused_in_a_sentence_at_once(leaf: Leaf) -> None:
    for value in WORDS:
        said = answer(leaf.override(value))
        if "\\e" in value or "\\n" in value or "u202e" in value or "x" * 300 in value or value.startswith("!!"):
            assert said, f"{leaf.override(value)} is taken"


@pytest.mark.parametrize("name", ["data", "tasks", "synthesize.directions.stylegan3"])
@pytest.mark.parametrize("key", ["../../q", "\x1b[2J", "a b", "x" * 300, "=cmd|x", "<script>", "a\nb"])
def test_keys_are_names_too(name: str, key: str) -> None:
    values: Any = {key: {"layout": "pairs"} if name == "data" else {}}
    for part in reversed(name.split(".")):
        values = {part: values}
    with pytest.raises(ConfigurationError) as error:
        resolve("laptop", (), values)
    assert str(error.value).replace("\n", "").isprintable()


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_value_that_is_no_plain_data_is_refused_at_once(bomb: str) -> None:
    started = time.monotonic()
    with pytest.raises(ComfaceError) as error:
        resolve("laptop", [f"pretrain={BOMBS[bomb]}"])
    assert time.monotonic() - started < ANSWER_S
    assert error.value.exit_code == 64
    assert len(str(error.value)) < 400


def test_a_product_of_fields_is_bounded_too() -> None:
    share = "{generator: dcgan, identities: 9999999, attributes: [a, b], attributes_per_identity: 2}"
    assert "the composition has 19,999,998 tracks, more than 10,000,000" in answer(f"synthesize.composition=[{share}]")
    assert "gives 10,001 images a track, more than 1,000; raise it to 0.01 or more" in answer(
        "synthesize.alpha_step=0.001"
    )


def test_plain_data_is_what_it_looks_like() -> None:
    config = resolve(
        "laptop",
        [
            "pretrain.learning_rate=1e-3",
            "tasks.age.unit=2024-01-01",
            "tasks.age.unit='100 %'",
            "synthesize.composition=[{generator: procedural, identities: 60, attributes: [age]}]",
            "pretrain={epochs: 2, curriculum_ends: [1, 2]}",
        ],
    )
    assert config.pretrain.learning_rate == 0.001
    assert config.tasks["age"].unit == "100 %"
    assert config.pretrain.curriculum_ends == (1, 2)
    assert resolve("laptop", ["tasks.age.unit=2024-01-01"]).tasks["age"].unit == "2024-01-01"
    assert resolve("laptop", ["transfer.folds=010"]).transfer.folds == 10, "not eight"
    assert resolve("laptop", ["pretrain.learning_rate=.5e-3"]).pretrain.learning_rate == 0.0005
    assert resolve("laptop", ["tasks.age.unit=yes"]).tasks["age"].unit == "yes"
    assert not resolve("laptop", ["check_gpus=no"]).check_gpus
    with pytest.raises(ConfigurationError, match=r"'transfer\.folds' is wrong"):
        resolve("laptop", ["transfer.folds=1:20"])  # eighty, in YAML 1.1


@pytest.mark.parametrize("field", ["store", "weights", "data.fgnet.uri", "screening.backbone"])
def test_a_place_that_nothing_reads_is_refused_by_the_configuration_itself(field: str) -> None:
    more = ["screening.method=comface"] if field == "screening.backbone" else []
    for place in ("http://x/y", "gs://b/x", "ftp://x", "s3://", "s3:/bucket/x", "file://host/x", "file:x", "minio:b"):
        with pytest.raises(ConfigurationError, match=f"'{place}' is neither file:///absolute/path nor s3://"):
            resolve("laptop", [f"{field}={place}", *more])
    for place in ("s3://bucket", "s3://Old_Bucket/a", "file:///a/b", "file:/a", "~/x", "runs/a b"):
        assert resolve("laptop", [f"{field}={place}", *more])


@pytest.mark.parametrize("override", ["profile=paper", "profile.name=x", "pretrain.seed=1\nprofile=paper",
                                      "." * 5000 + "=1", "a" * 5000 + "=1", "=" * 300])  # fmt: skip
def test_an_override_that_is_no_field_is_said_and_nothing_runs(
    override: str, capfd: pytest.CaptureFixture[str], tmp_path: Any
) -> None:
    assert main(["run", "--output", str(tmp_path / "out"), "--set", override]) == 64
    said = capfd.readouterr().err
    assert said.count("\n") == 1
    assert len(said) < 400
    if override.startswith("profile"):
        assert "choose it with --profile" in said
    assert not (tmp_path / "out").exists()
