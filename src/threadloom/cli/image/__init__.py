"""An app as an image: where its folders go, and the Dockerfile."""
