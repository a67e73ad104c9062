"""experiments/transforms.py with every batch stored at once, and a rest after it."""

import time

import tiny

from jaxadv import cli, results

if __name__ == "__main__":
  module = tiny.experiment("transforms")
  module._FLUSH_S = 0
  store = results.append

  def append(*values):
    store(*values)
    time.sleep(0.05)

  results.append = append
  cli.run(module.main)
