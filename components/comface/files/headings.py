"""Names in tables and folders, as people write them: which heading means which column, and which name is the nearest.

In: headings in any case, with spaces, units and brackets, in several languages. Out: normal forms, the unit, and the
column that a heading stands for.
"""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence

UNIT = re.compile(r"\s*(?:[(\[]\s*(?P<brackets>[^()\[\]]*)\s*[)\]]|(?:[\s_,]|\bin\b)+(?P<bare>kg|kgs|g|lb|lbs))\s*$")
"""`Weight (kg)`, `weight [kg]`, `weight_kg`, `weight in kg`."""
ALIASES: dict[str, Sequence[str]] = {
    "patient": (
        "patient_id", "patient_no", "patient_nr", "patientid", "subject", "subject_id", "person", "participant", "id",
        "pid", "patientin", "patienten_id", "patientennummer", "proband", "sujet", "paciente", "paziente", "name",
        "nom", "nombre", "nome",
    ),
    "session": (
        "session_id", "session_no", "date", "visit", "day", "exam", "datum", "sitzung", "termin", "besuch", "tag",
        "seance", "séance", "jour", "visite", "sesion", "sesión", "fecha", "visita", "sessione", "data", "seduta",
    ),
    "phase": (
        "before_after", "before_or_after", "pre_post", "time", "timepoint", "time_point", "vor_nach", "vorher_nachher",
        "zeitpunkt", "avant_apres", "avant_après", "moment", "antes_despues", "antes_después", "fase", "prima_dopo",
    ),
    "weight_kg": (
        "weight", "body_weight", "bodyweight", "mass", "gewicht", "koerpergewicht", "körpergewicht", "poids", "peso",
    ),
    "weight_before_kg": (
        "weight_before", "before", "before_weight", "pre_weight", "weight_pre", "pre", "gewicht_vor", "gewicht_vorher",
        "vorher", "vor", "poids_avant", "avant", "peso_antes", "antes", "peso_prima",
    ),
    "weight_after_kg": (
        "weight_after", "after", "after_weight", "post_weight", "weight_post", "post", "gewicht_nach",
        "gewicht_nachher", "nachher", "nach", "poids_après", "poids_apres", "après", "peso_después", "peso_despues",
        "después", "peso_dopo",
    ),
    "subject": (
        "subject_id", "subject_no", "patient", "patient_id", "patient_no", "patient_nr", "patientid", "person",
        "person_id", "participant", "participant_id", "id", "pid", "patientin", "proband", "sujet", "sujeto",
        "paciente", "paziente", "name", "nom", "nombre", "nome",
    ),
    "file": (
        "file_name", "filename", "path", "file_path", "photo", "photo_file", "picture", "image", "image_file", "img",
        "datei", "dateiname", "foto", "bild", "fichier", "archivo", "imagen", "immagine",
    ),
    "before": ("photo_before", "before_photo", "pre", "baseline", "vorher", "vor", "avant", "antes", "prima"),
    "after": (
        "photo_after", "after_photo", "post", "follow_up", "nachher", "nach", "après", "apres", "después", "despues",
        "dopo",
    ),
}  # fmt: skip
"""Column → other headings that are read as it, in their plain form, the most usual first."""
PHASES: dict[str, str] = {
    "before": "before", "pre": "before", "vor": "before", "vorher": "before", "avant": "before", "antes": "before",
    "prima": "before", "after": "after", "post": "after", "nach": "after", "nachher": "after", "apres": "after",
    "après": "after", "despues": "after", "después": "after", "dopo": "after",
}  # fmt: skip
"""Words for the two phases of a session → the phase."""


def normal(name: str) -> str:
    """The normal form of a name: NFC, case-folded, single spaces. Names with the same normal form are equal."""
    return unicodedata.normalize("NFC", " ".join(name.split()).casefold())


def plain(name: str) -> str:
    """`Weight (kg)` and `weight kg` are weight_kg."""
    return re.sub(r"[\W_]+", "_", normal(name)).strip("_")


def unit_in(heading: str) -> str:
    """The unit in a heading, in lower case: `kg` of `Weight (kg)`; empty if it has none."""
    found = UNIT.search(normal(heading))
    return (found["brackets"] or found["bare"] or "").strip() if found else ""


def without_unit(heading: str) -> str:
    return plain(UNIT.sub("", normal(heading)))


def phase_of(word: str) -> str:
    """'before' or 'after', or "" if the word is neither. Further words are allowed: `Before dialysis`."""
    words = plain(word).split("_")
    found = {PHASES[each] for each in words if each in PHASES}
    return found.pop() if len(found) == 1 and len(words) <= 3 else ""


def meanings(headings: Sequence[str], wanted: Sequence[str]) -> dict[str, int]:
    """Wanted column → position of its heading. The exact name is first, then the name with another unit, then an alias
    in the order of ALIASES; each heading is used once."""
    forms = [(plain(each), without_unit(each)) for each in headings]
    found: dict[str, int] = {}
    for names in (lambda each: (each,), lambda each: (without_unit(each), *ALIASES.get(each, ()))):
        for column in wanted:
            for name in () if column in found else names(column):
                at = next((i for i, form in enumerate(forms) if name in form and i not in found.values()), None)
                if at is not None:
                    found[column] = at
                    break
    return found


def same_label(wanted: str, columns: Iterable[str]) -> str:
    """The column that the label `wanted` names: itself, or the only one that differs in spaces, signs and unit; else
    ""."""
    columns = list(columns)
    if wanted in columns:
        return wanted
    for form in (plain, without_unit):
        found = [column for column in columns if form(column) == form(wanted)]
        if len(found) == 1:
            return found[0]
    return ""


def nearest(wanted: str, names: Iterable[str], others: Mapping[str, Sequence[str]] = ALIASES) -> str:
    """The name that is most similar to `wanted` or one of its aliases; "" if none is similar."""
    by_form = {plain(name): name for name in names}
    for word in (plain(wanted), *others.get(wanted, ())):
        for close in difflib.get_close_matches(word, by_form, 1, 0.75):
            return by_form[close]
    return ""
