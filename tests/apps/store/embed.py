"""An embedding function that counts letters, and fails when it is told to."""


async def embed(texts):
    if any("fail" in text for text in texts):
        raise RuntimeError("the model's key is sk-secret")
    return [[float(text.count(letter)) for letter in "abcd"] for text in texts]
