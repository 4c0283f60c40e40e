"""The pipeline's mappings and lists, as KFP hands them on: what `--set` means, whatever way it comes."""

from __future__ import annotations

import json

import pytest
from google.protobuf import json_format, struct_pb2

from comface.errors import ConfigurationError
from comface.plan.configuration import resolve
from comface.plan.from_parameters import configure
from comface.plan.parameters import Parameters, names, override_lines, override_mapping

LINES = [
    "pretrain.epochs=4", "pretrain.curriculum_ends=[1, 4]", "pretrain.seed=9007199254740993", "register.must_beat=null",
    "pretrain.learning_rate=1e-05", "register.name=weekly", "pretrain.cosine=true", "synthesize.alpha_step=2.5",
    "transfer.tasks=[age]", "data.fgnet.uri=s3://bucket/fgnet", "synthesize.composition=[{generator: procedural, "
    "identities: 5000, attributes: [age]}]",
]  # fmt: skip


def through_kfp(values: dict[str, object]) -> dict[str, object]:
    """As a server and the local runner keep a mapping: in a protobuf Struct, whose numbers are doubles."""
    return json.loads(json_format.MessageToJson(json_format.ParseDict(values, struct_pb2.Struct())))


def test_overrides_mean_the_same_as_set_after_kfp_handed_them_on() -> None:
    mapping = override_mapping(LINES)
    assert mapping["pretrain.epochs"] == 4
    assert mapping["pretrain.curriculum_ends"] == [1, 4]
    assert (mapping["register.must_beat"], mapping["pretrain.seed"]) == ("null", "9007199254740993")
    handed_on = through_kfp(mapping)
    assert str(handed_on["pretrain.epochs"]) == "4.0" or handed_on["pretrain.epochs"] == 4
    wanted = resolve("laptop", LINES)
    assert configure(Parameters("laptop", handed_on)) == wanted
    doubles = {name: float(value) if type(value) is int else value for name, value in mapping.items()}
    assert configure(Parameters("laptop", doubles)) == wanted


def test_the_form_takes_nested_sections_fields_and_lists() -> None:
    form = {"pretrain.epochs": 3.0, "pretrain": {"epochs": 2.0, "curriculum_ends": [1.0, 3.0]}}
    found = configure(
        Parameters("laptop", form, tasks=["age"], methods=["scratch", "comface"], data={"fgnet": {"layout": "fgnet"}})
    )
    assert (found.pretrain.epochs, found.pretrain.curriculum_ends) == (3, (1, 3)), "a field beats its section"
    assert found.transfer.tasks == ("age",)
    assert found.transfer.methods == ("scratch", "comface")


def test_text_that_a_person_types_still_works() -> None:
    found = configure(Parameters("laptop", "pretrain.epochs=2\n\npretrain.curriculum_ends=[1,2]", tasks="age, smile"))
    assert found.pretrain.epochs == 2
    assert found.transfer.tasks == ("age", "smile")
    assert names(["a", " b "]) == names("a, b,") == ["a", "b"]


def test_a_number_that_kfp_may_have_changed_is_refused() -> None:
    with pytest.raises(
        ConfigurationError, match=r"18014398509481984 of 'pretrain.seed' is too large .* write it as text"
    ):
        override_lines({"pretrain.seed": float(2**54)})
    with pytest.raises(ConfigurationError, match=r"9007199254740992 of 'pretrain.seed' is too large"):
        override_lines(through_kfp({"pretrain.seed": 2**53 + 1}))  # whose double is 2^53
    assert override_lines(through_kfp({"pretrain.seed": 2**53 - 1})) == ["pretrain.seed=9007199254740991"]


def test_a_number_of_nodes_that_means_nothing_is_refused() -> None:
    assert configure(Parameters("paper", {}, nodes=0, gpus_per_node=-1)).pretrain.nodes == 4
    for sizes in ({"nodes": -1}, {"gpus_per_node": -2}):
        with pytest.raises(ConfigurationError, match="input should be greater than or equal to"):
            configure(Parameters("paper", {}, **sizes))


def test_the_store_is_a_parameter_since_the_end_of_the_run_reads_it() -> None:
    with pytest.raises(ConfigurationError, match="'s3://b/y', but the end of the run reads failures from 's3://b/x'"):
        configure(Parameters("paper", {"store": "s3://b/y"}, store="s3://b/x"))
    with pytest.raises(ConfigurationError, match="give the store with the parameter `store`"):
        configure(Parameters("paper", {"store": "s3://b/y"}))
    assert configure(Parameters("paper", {"store": "s3://b/y"}, store="s3://b/y")).store == "s3://b/y"
