"""Encrypt stored data with AES-256-GCM under a ring of keys, and hash people's ids with a key."""

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
ENVELOPE_VERSION = b"\x01"
_SALT = slice(5, 21)
_NONCE = slice(21, 33)
_HEADER_BYTES = 33

#: AES-GCM with random nonces is safe for 2^32 messages per key (NIST SP 800-38D, 8.3). A busy
#: system would reach that in weeks. So each process encrypts under its own subkey,
#: HKDF(key, salt), and takes a new salt well before that limit.
MAX_SEALS_PER_SALT = 2**30
MAX_CACHED_SUBKEYS = 1024


class Undecryptable(Exception):
    """The envelope is damaged, belongs to another place, or its key is not in the ring."""

    code = "undecryptable"


class KeyRing:
    """Seal with the first key; open with every key. `associated` binds an envelope to its place.

    Each of `keys` has 32 bytes. Use a ring in one event loop only.
    """

    def __init__(self, keys: Sequence[bytes]) -> None:
        self._keys = {id_of_key(key): key for key in keys}
        self._write_id = id_of_key(keys[0])
        self._subkeys: OrderedDict[tuple[bytes, bytes], AESGCM] = OrderedDict()
        self._hash_keys = [_derive(key, b"", b"subject hash") for key in keys]
        self._new_salt()

    @property
    def write_id(self) -> bytes:
        """Return the id of the key that seals."""
        return self._write_id

    def seal(self, plaintext: bytes, associated: bytes) -> bytes:
        if self._seals_left == 0:
            self._new_salt()
        self._seals_left -= 1
        nonce = os.urandom(12)
        return self._prefix + nonce + self._sealer.encrypt(nonce, plaintext, associated)

    def open(self, envelope: bytes, associated: bytes) -> bytes:
        """Return the plaintext. Raise Undecryptable."""
        if len(envelope) < _HEADER_BYTES or envelope[:1] != ENVELOPE_VERSION:
            raise Undecryptable
        try:
            subkey = self._subkey(envelope[1:5], envelope[_SALT])
            return subkey.decrypt(envelope[_NONCE], envelope[_HEADER_BYTES:], associated)
        except (KeyError, InvalidTag):
            raise Undecryptable from None

    def subject_hashes(self, subject: str) -> list[bytes]:
        """Return the hashes under which versions before 0014 stored a person's id: one for each key
        of the ring."""
        return [hmac.digest(key, subject.encode(), "sha256") for key in self._hash_keys]

    def _new_salt(self) -> None:
        salt = os.urandom(16)
        self._prefix = ENVELOPE_VERSION + self._write_id + salt
        self._sealer = self._subkey(self._write_id, salt)
        self._seals_left = MAX_SEALS_PER_SALT

    def _subkey(self, key_id: bytes, salt: bytes) -> AESGCM:
        subkey = self._subkeys.get((key_id, salt))
        if subkey is None:
            subkey = AESGCM(_derive(self._keys[key_id], salt, b"envelope"))
            self._subkeys[key_id, salt] = subkey
            if len(self._subkeys) > MAX_CACHED_SUBKEYS:
                self._subkeys.popitem(last=False)
        return subkey


class SubjectHasher:
    """Hash people's ids under the first key; find them under every key. Each has 32 bytes.

    A hash is the key's id (4 bytes) and 16 bytes of HMAC-SHA256. The same id gives the same hash;
    only a holder of the key can compute it.
    """

    def __init__(self, keys: Sequence[bytes]) -> None:
        self._keys = [(id_of_key(key), _derive(key, b"", b"subject hash")) for key in keys]

    @property
    def write_id(self) -> bytes:
        """Return the id of the key that new hashes rest on."""
        return self._keys[0][0]

    def hash(self, subject: str) -> bytes:
        key_id, key = self._keys[0]
        return key_id + hmac.digest(key, subject.encode(), "sha256")[:16]

    def hashes(self, subject: str) -> list[bytes]:
        """Return the hashes to search for: one for each key."""
        return [
            key_id + hmac.digest(key, subject.encode(), "sha256")[:16] for key_id, key in self._keys
        ]


def id_of_key(key: bytes) -> bytes:
    """Return four bytes that identify a key and reveal nothing about it."""
    return sha256(b"porteiro key id" + key).digest()[:4]


def associated_data(table: str, row_id: bytes, column: str) -> bytes:
    """Return the associated data that binds an envelope to this table, row and column: it cannot be
    opened for any other."""
    return b"%b|%b|%b" % (table.encode(), row_id, column.encode())


def _derive(key: bytes, salt: bytes, info: bytes) -> bytes:
    return HKDF(SHA256(), 32, salt=salt or None, info=b"porteiro " + info).derive(key)
