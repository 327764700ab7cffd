"""For whom a WireGuard handshake was made, told without any secret.

One rule: only the public key of the responder is needed, and no more than that is proven. The key is public, so whoever
holds both ends can make a handshake for it; an approval that must withstand that names the server's address, too.
"""

import hashlib
import hmac

_LABEL_MAC1 = b"mac1----"
_MAC1_OFFSET = 116
_MAC_LENGTH = 16
"WireGuard whitepaper section 5.4.4: mac1 covers all of the message before it and is 16 bytes long."


def mac1_key(public_key: bytes) -> bytes:
    """The key of mac1 for messages to the holder of `public_key` (whitepaper section 5.4.4)."""
    return hashlib.blake2s(_LABEL_MAC1 + public_key).digest()


def is_for(key: bytes, initiation: bytes) -> bool:
    """Whether a handshake initiation was made for the holder of the public key behind that mac1 key."""
    mac1 = hashlib.blake2s(initiation[:_MAC1_OFFSET], key=key, digest_size=_MAC_LENGTH).digest()
    return hmac.compare_digest(mac1, initiation[_MAC1_OFFSET : _MAC1_OFFSET + _MAC_LENGTH])
