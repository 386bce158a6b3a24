"""What the name of a column says: that it identifies rows, groups of them or people, or numbers the rows."""

from __future__ import annotations

import re
import unicodedata

IDS = re.compile(r"^(id|uuid|guid|key|nr|no|number|index)$|_(id|uuid|guid|key|nr|no|number|nummer|code)$|[a-z]nummer$")
STRICT_IDS = re.compile(r"(^|_)(id|uuid|guid)$")  # never a measure
ROW_NUMBERS = re.compile(
    r"^$|^unnamed(_\d+)*$|^(rowname|row_name|index|level_0|zeile|row|zeilennummer)s?$|^duplicated_\d+$|^[x1]$"
    r"|^(row|s|sl|sr|lfd|laufende|zeilen)_?(nr|no|num|number|nummer|id|index)$"
)
AMBIGUOUS = ("", "x", "1", "row")  # as often a measure: what they hold has to count
ENTITIES = (
    "patient|customer|client|user|subject|person|household|member|student|employee|account|session|device|driver"
    "|participant|respondent|kunden?|nutzer|benutzer|mitglieds?|mitarbeiter|schuler|konto|haushalts?|patienten|probanden?"
    "|cliente|paciente|usuario|utilisateur|klient|abonne"
)
ENTITY = rf"({ENTITIES}|cust|acct|emp)"
GROUPS = re.compile(
    rf"^(id|({ENTITIES})s?)$|(^|_){ENTITY}_?(u?id|guid|no|nr|num|number|nummer|code|key|ref|hash)$|^id_{ENTITY}$"
)
PERSONAL_NAMES = re.compile(
    r"^(name|(first|last|full|middle|given|family|user|maiden|contact)_?name|surname|vorname|nachname|familienname)$"
    rf"|^{ENTITY}_?name$|^(prenom|nom|nombre|apellidos?|anschrift|adresse|strasse|handy(nummer)?)$"
    r"|(^|[^a-z])e_?mail|phone|telefon|mobile?_?(no|nr|number|nummer)"
    r"|^(tel|fax|ssn|iban|passport.*|street|address.*|.*_address)$|social_?security|sozialversicherung"
    r"|tax_?(id|no|number)|steuer_?(id|nr|nummer)|national_?id|birth_?(date|day)|date_?of_?birth|^dob$|geburts_?(datum|tag)"
    r"|card_?(no|nr|number)"
)


def words(name: str) -> str:
    """The words of `name` in small letters, without accents: "kunden_nr" of "KundenNr."."""
    plain = unicodedata.normalize("NFKD", name.replace("ß", "ss")).encode("ascii", "ignore").decode()
    if not plain.strip() and name.strip():  # of another script
        plain = name
    apart = re.sub(r"(?<=[a-z\d])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", plain)
    return re.sub(r"[\W_]+", "_", apart).strip("_").lower()


def is_id(name: str) -> bool:
    """Whether a column is called like one that identifies something."""
    return bool(IDS.search(words(name)) or GROUPS.search(words(name)))
