# Python alone, for `rewardkit sandbox build`. BASE may be any image with python3 >= 3.8 on its PATH.
ARG BASE=python:3.11-slim
FROM ${BASE}
USER 0:0
# The root is read-only later on: bytecode that is not written now is compiled anew for every program.
RUN ldconfig 2>/dev/null; \
    python3 -c 'import compileall, sys; [compileall.compile_dir(p, quiet=2, workers=0) for p in sys.path if p]'; \
    python3 -c 'import ctypes, json, os, ssl, sqlite3'
USER 65534:65534
WORKDIR /
