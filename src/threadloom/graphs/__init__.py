"""User graphs: `load` imports their code, `registry` serves them, `schema` and `draw` describe them."""
