"""Encryption at rest: AES-256-GCM under a ring of keys, and keyed hashes of people's ids."""

import hmac
import os
from collections import OrderedDict
from collections.abc import Sequence
from hashlib import sha256

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

#: Envelope: version (1 byte), key id (4), salt (16), nonce (12), ciphertext and tag.
VERSION = b"\x01"
_SALT = slice(5, 21)
_NONCE = slice(21, 33)
_HEADER_BYTES = 33

#: AES-GCM with random nonces is sound for 2^32 messages a key (NIST SP 800-38D, 8.3), which busy
#: intake would reach in weeks. So each process encrypts under a subkey of its own, HKDF(key, salt),
#: and takes a new salt well before that.
MAX_SEALS_PER_SALT = 2**30
MAX_CACHED_SUBKEYS = 1024


class Undecryptable(Exception):
    """The envelope is damaged, belongs elsewhere, or its key is not in the ring."""

    code = "undecryptable"


class KeyRing:
    """The first key writes, every key reads; `associated` binds an envelope to its place.

    `keys` are 32 bytes each. A ring is meant for one event loop.
    """

    def __init__(self, keys: Sequence[bytes]) -> None:
        self._keys = {key_id(key): key for key in keys}
        self._write_id = key_id(keys[0])
        self._subkeys: OrderedDict[tuple[bytes, bytes], AESGCM] = OrderedDict()
        self._hash_keys = [_derive(key, b"", b"subject hash") for key in keys]
        self._new_salt()

    @property
    def write_id(self) -> bytes:
        """The id of the key that seals."""
        return self._write_id

    def seal(self, plaintext: bytes, associated: bytes) -> bytes:
        if self._seals_left == 0:
            self._new_salt()
        self._seals_left -= 1
        nonce = os.urandom(12)
        return self._prefix + nonce + self._sealer.encrypt(nonce, plaintext, associated)

    def open(self, envelope: bytes, associated: bytes) -> bytes:
        """Raises Undecryptable."""
        if len(envelope) < _HEADER_BYTES or envelope[:1] != VERSION:
            raise Undecryptable
        try:
            subkey = self._subkey(envelope[1:5], envelope[_SALT])
            return subkey.decrypt(envelope[_NONCE], envelope[_HEADER_BYTES:], associated)
        except (KeyError, InvalidTag):
            raise Undecryptable from None

    def subject_hash(self, subject: str) -> bytes:
        """A person's id as we keep it: the same person gives the same hash, and only to us."""
        return hmac.digest(self._hash_keys[0], subject.encode(), "sha256")

    def subject_hashes(self, subject: str) -> list[bytes]:
        """The hash under every key of the ring, the writing key's first: what to search for."""
        return [hmac.digest(key, subject.encode(), "sha256") for key in self._hash_keys]

    def _new_salt(self) -> None:
        salt = os.urandom(16)
        self._prefix = VERSION + self._write_id + salt
        self._sealer = self._subkey(self._write_id, salt)
        self._seals_left = MAX_SEALS_PER_SALT

    def _subkey(self, of: bytes, salt: bytes) -> AESGCM:
        subkey = self._subkeys.get((of, salt))
        if subkey is None:
            subkey = AESGCM(_derive(self._keys[of], salt, b"envelope"))
            self._subkeys[of, salt] = subkey
            if len(self._subkeys) > MAX_CACHED_SUBKEYS:
                self._subkeys.popitem(last=False)
        return subkey


def key_id(key: bytes) -> bytes:
    """Four bytes that name a key and tell nothing about it."""
    return sha256(b"porteiro key id" + key).digest()[:4]


def associated_data(table: str, row_id: bytes, column: str) -> bytes:
    """Where an envelope belongs; moved to another row or column it will not open."""
    return b"%b|%b|%b" % (table.encode(), row_id, column.encode())


def _derive(key: bytes, salt: bytes, info: bytes) -> bytes:
    return HKDF(SHA256(), 32, salt=salt or None, info=b"porteiro " + info).derive(key)
