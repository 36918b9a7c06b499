"""Users' graphs: `load` brings code in, `registry` serves it, `schema` and `draw` describe it."""
