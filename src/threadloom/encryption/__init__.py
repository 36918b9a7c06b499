"""Encryption at rest: a storage over the storage that seals on the way in and opens on the way out.

`aes` and `handlers` are the two ways to seal (the built-in one, and handlers of the user's), `tables` says what of each record
is sealed, `storage` puts both around any storage, `keys` guards the start, `rekey` changes keys. docs/encryption.md tells users.
"""
