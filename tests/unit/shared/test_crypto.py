"""An envelope opens only undamaged, in its own row and column, with a key of the ring."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared import crypto
from shared.crypto import KeyRing, SubjectHasher, Undecryptable, associated_data, id_of_key

PLACE = associated_data("webhook_bodies", b"\x01" * 16, "body")
OLD, NEW = bytes(range(32)), bytes(range(32, 64))
SALT = slice(5, 21)


@given(plaintext=st.binary(max_size=300))
def test_a_sealed_text_opens(plaintext: bytes) -> None:
    ring = KeyRing([NEW])

    assert ring.open(ring.seal(plaintext, PLACE), PLACE) == plaintext


def test_another_process_with_the_same_key_opens_it() -> None:
    assert KeyRing([NEW]).open(KeyRing([NEW]).seal(b"secret", PLACE), PLACE) == b"secret"


def test_what_an_earlier_version_stored_is_read_and_found() -> None:
    sealed = bytes.fromhex(
        "01 28 77 e1 6f 0a e7 49 43 2a 04 42 a4 c6 61 cb 23 f9 1a 8d 97 7a f6 60 9b 2f 42 5b"
        "1a f4 3f 63 f6 08 35 ac 38 2d 2a c7 28 d5 6e c2 d5 96 c7 6e 07 f9 f9 22 27 46 7f"
    )
    place = associated_data("webhook_bodies", b"\x01" * 16, "body")

    assert KeyRing([OLD]).open(sealed, place) == b"secret"
    [found] = KeyRing([OLD]).subject_hashes("5511")
    assert found.startswith(bytes.fromhex("da a8 0b fa 31 05 11 af"))


def test_sealing_twice_shows_neither_the_text_nor_that_it_is_the_same() -> None:
    ring = KeyRing([NEW])

    first, second = ring.seal(b"the same text", PLACE), ring.seal(b"the same text", PLACE)

    assert first[33:] != second[33:]
    assert b"the same text" not in first


@pytest.mark.parametrize("bit", [0x01, 0x80])
def test_an_envelope_with_any_byte_changed_does_not_open(bit: int) -> None:
    ring = KeyRing([NEW, OLD])
    envelope = ring.seal(b"secret", PLACE)

    for index in range(len(envelope)):
        damaged = bytearray(envelope)
        damaged[index] ^= bit
        with pytest.raises(Undecryptable):
            ring.open(bytes(damaged), PLACE)


def test_an_envelope_cut_or_lengthened_anywhere_does_not_open() -> None:
    ring = KeyRing([NEW])
    envelope = ring.seal(b"secret", PLACE)

    for damaged in [*(envelope[:end] for end in range(len(envelope))), envelope + b"\x00"]:
        with pytest.raises(Undecryptable):
            ring.open(damaged, PLACE)


@pytest.mark.parametrize(
    "elsewhere",
    [
        associated_data("webhook_bodies", b"\x02" * 16, "body"),
        associated_data("webhook_bodies", b"\x01" * 16, "content"),
        associated_data("webhook_changes", b"\x01" * 16, "body"),
        b"",
    ],
)
def test_an_envelope_moved_to_another_row_or_column_does_not_open(elsewhere: bytes) -> None:
    ring = KeyRing([NEW])

    with pytest.raises(Undecryptable):
        ring.open(ring.seal(b"secret", PLACE), elsewhere)


def test_a_key_that_is_not_in_the_ring_opens_nothing() -> None:
    with pytest.raises(Undecryptable):
        KeyRing([NEW]).open(KeyRing([OLD]).seal(b"secret", PLACE), PLACE)


def test_a_ring_reads_its_previous_keys_and_writes_with_its_first() -> None:
    ring = KeyRing([NEW, OLD])

    assert ring.open(KeyRing([OLD]).seal(b"before", PLACE), PLACE) == b"before"
    assert KeyRing([NEW]).open(ring.seal(b"after", PLACE), PLACE) == b"after"


def test_a_new_salt_replaces_one_that_was_used_for_enough_seals(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(crypto, "MAX_SEALS_PER_SALT", 2)
    ring = KeyRing([NEW])

    envelopes = [ring.seal(b"secret", PLACE) for _ in range(5)]

    a, b, c, d, e = (envelope[SALT] for envelope in envelopes)
    assert (a, c) == (b, d)
    assert len({a, c, e}) == 3
    assert {ring.open(envelope, PLACE) for envelope in envelopes} == {b"secret"}


def test_each_process_has_a_salt_of_its_own() -> None:
    first, second = KeyRing([NEW]).seal(b"", PLACE), KeyRing([NEW]).seal(b"", PLACE)

    assert first[SALT] != second[SALT]


def test_a_subkey_is_derived_once(monkeypatch: pytest.MonkeyPatch) -> None:
    envelope = KeyRing([NEW]).seal(b"secret", PLACE)
    ring = KeyRing([NEW])
    derive, salts = crypto._derive, list[bytes]()

    def counted(key: bytes, salt: bytes, info: bytes) -> bytes:
        salts.append(salt)
        return derive(key, salt, info)

    monkeypatch.setattr(crypto, "_derive", counted)

    assert {ring.open(envelope, PLACE) for _ in range(3)} == {b"secret"}
    assert salts == [envelope[SALT]]


def test_subkeys_are_cached_up_to_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crypto, "MAX_CACHED_SUBKEYS", 3)
    ring = KeyRing([NEW])
    envelopes = [KeyRing([NEW]).seal(b"secret", PLACE) for _ in range(10)]

    opened = {ring.open(envelope, PLACE) for envelope in envelopes * 2}

    assert opened == {b"secret"}
    assert len(ring._subkeys) == 3
    kept = [KeyRing([NEW]).seal(b"", PLACE) for _ in range(3)]
    for envelope in kept:
        ring.open(envelope, PLACE)
    assert {salt for _, salt in ring._subkeys} == {envelope[SALT] for envelope in kept}
    assert ring.open(ring.seal(b"still sealing", PLACE), PLACE) == b"still sealing"


def test_a_person_has_the_same_hash_in_every_process() -> None:
    hashed = SubjectHasher([NEW]).hash("5511")
    assert hashed == SubjectHasher([NEW]).hash("5511")
    assert hashed not in {SubjectHasher([NEW]).hash("5512"), SubjectHasher([OLD]).hash("5511")}


def test_a_person_has_a_hash_for_every_key_the_writing_key_first() -> None:
    hasher = SubjectHasher([NEW, OLD])

    assert hasher.hashes("5511") == [hasher.hash("5511"), SubjectHasher([OLD]).hash("5511")]
    assert hasher.hash("5511").startswith(hasher.write_id)
    assert hasher.write_id == id_of_key(NEW)


def test_a_key_id_identifies_a_key_and_is_no_part_of_it() -> None:
    key = os.urandom(32)

    assert len(id_of_key(key)) == 4
    assert id_of_key(key) != id_of_key(os.urandom(32))
    assert id_of_key(key) not in key
