"""The one exception that a user is meant to see."""


class InputError(ValueError):
  """Bad input: one sentence that says what is wrong, the value, and what to do.

  Experiments print it and end with exit code 2; no traceback.
  """
