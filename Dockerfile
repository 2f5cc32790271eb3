# Runs the two commands of the README in a container, without anything installed outside it.
#
#   docker build --tag model-import-export .
#   docker run --rm model-import-export
FROM golang:1.26-bookworm AS go

FROM python:3.11-bookworm
COPY --from=go /usr/local/go /usr/local/go
# hadolint ignore=DL3008
RUN apt-get update \
 && apt-get install --yes --no-install-recommends openjdk-17-jdk-headless maven gcc make \
 && rm -rf /var/lib/apt/lists/*
ENV PATH=/usr/local/go/bin:$PATH
RUN useradd --create-home user && install --directory --owner user /home/user/model-import-export
USER user
WORKDIR /home/user/model-import-export
# The packages first, so that a change of a program does not install them anew.
COPY --chown=user Makefile pyproject.toml requirements.txt constraints.txt README.md model_producer.py ./
COPY --chown=user model_import_export model_import_export
RUN make venv
COPY --chown=user . .
RUN make go java
CMD ["make", "run"]
