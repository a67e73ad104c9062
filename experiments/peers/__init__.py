"""Our attacks against those of five other libraries, on the same victims in torch."""
