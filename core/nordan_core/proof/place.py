"""From a pool's facts to what a certificate says about a place in plain words.

The sealer fills each attempt's place with this, and the verifier derives it again, so that what people read and
what the judge read cannot differ.
"""

from nordan_core.proof.records import Document, PlaceRecord
from nordan_core.residency.exposure import exposure
from nordan_core.residency.facts import PoolFacts, facts_document


def place_of(facts: PoolFacts) -> PlaceRecord:
    """Return where a pool stands and who is behind it."""
    document = facts_document(facts)
    exposures = {name: exposure(name, facts.entities) for name in facts.operators()}
    return PlaceRecord(
        territory=facts.territory,
        provider=facts.provider,
        operator=facts.operator,
        host=facts.host,
        access_territories=None if facts.access_territories is None else tuple(sorted(facts.access_territories)),
        exposure={name: tuple(sorted(found.territories)) for name, found in exposures.items()},
        exposure_unknown=tuple(name for name, found in exposures.items() if found.is_unknown),
        endpoints=_objects(document["endpoints"]),
        certifications=_objects(document["certifications"]),
        tenancy=tuple(level.word for level in sorted(facts.tenancy)),
        encryption=None if facts.encryption is None else facts.encryption.word,
        evidence=facts.evidence.word,
        enforces=tuple(sorted(facts.enforces)),
    )


def _objects(value: object) -> tuple[Document, ...]:
    assert isinstance(value, list)
    return tuple(value)
