"""All that the program says: one file that a reviewer can read aloud, and rules that every sentence keeps."""

import re

import pytest
from messages import SNAPSHOT, snapshot

SENTENCES = [line.strip() for line in snapshot().splitlines() if line.startswith("  ")]
REFUSED = re.compile(
    r"(ComfaceError|ConfigurationError|DataError|GateRefused|TryAgain|TooLargeError|TooManyPixels|Preempted): (.+)"
)
PASS_ON = ("cannot be evaluated: {…}", "cannot be aligned: {…}", "the limit{…}")
"""What follows is another sentence of this list, with what to do."""
PRIVATE_WORDS = (
    "mend", "whisker", "dreamt", "nobody", "somebody", "without a word", "at hand", "is gone", "goes on", "go on",
    "stands in", "taken up", "took up", "nothing is red", "cut short", "in all that", "lies at", "heart", "house",
)  # fmt: skip


def test_the_file_of_all_messages_is_what_the_program_says() -> None:
    assert SNAPSHOT.read_text("utf-8") == snapshot(), (
        "read the new sentences aloud, then run `python tests/messages.py`"
    )


def test_there_are_messages_to_read() -> None:
    assert len(SENTENCES) > 400
    assert "DataError: The checkpoint in {…} is damaged; {…}." in SENTENCES


@pytest.mark.parametrize("sentence", [line for line in SENTENCES if REFUSED.match(line)])
def test_an_error_says_what_happened_and_what_to_do(sentence: str) -> None:
    text = REFUSED.fullmatch(sentence)
    assert text is not None
    if not text[2].endswith(PASS_ON):
        assert ";" in text[2] or re.search(r"[.:] \S", text[2]), "add what to do, after a semicolon"
        assert text[2].endswith((".", "{…}")), "end with a full stop"


@pytest.mark.parametrize("word", PRIVATE_WORDS)
def test_a_word_that_a_reader_would_have_to_guess_is_not_used(word: str) -> None:
    assert [line for line in SENTENCES if re.search(rf"\b{word}", line, re.IGNORECASE)] == []
