# Python, C, C++, Node and bash, for `rewardkit sandbox build --image full`. A BASE that lacks them needs apt-get.
ARG BASE=python:3.11-slim
FROM ${BASE}
USER 0:0
RUN command -v gcc && command -v g++ && command -v node && command -v bash || \
    { apt-get update -q && apt-get install -y -q --no-install-recommends gcc g++ libc6-dev nodejs bash \
      && rm -rf /var/lib/apt/lists/*; }
# The root is read-only later on: bytecode that is not written now is compiled anew for every program.
RUN ldconfig 2>/dev/null; \
    python3 -c 'import compileall, sys; [compileall.compile_dir(p, quiet=2, workers=0) for p in sys.path if p]'; \
    gcc --version && g++ --version && node --version && bash --version && python3 -c 'import ctypes, json, os, ssl'
USER 65534:65534
WORKDIR /
