"""Encryption at rest: a storage that wraps another storage, encrypts what is written to it and decrypts what is read from it.

`aes` (the built-in cipher) and `handlers` (the user's encryption handlers) are the two ways to encrypt. `tables` and `records`
say which fields of each record are encrypted. `storage` and `handler_storage` wrap a storage. `keys` checks the keys at start.
`rekey` changes keys. The user's guide is docs/encryption.md.
"""
