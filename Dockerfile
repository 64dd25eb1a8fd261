# syntax=docker/dockerfile:1
# Polytrace with a Prefect worker and server, for the CPU unless a build argument says otherwise:
#   docker build -t polytrace .
#   docker build -t polytrace:cuda --build-arg TORCH_INDEX=https://pypi.org/simple .
# How to run it, and what has not been run: docs/container.md
FROM python:3.11-slim-bookworm AS build

# The index of PyTorch alone. Its CPU wheels are small; PyPI's wheel for Linux is the CUDA build and
# brings the CUDA libraries as packages, so both images have the same base.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
# Extras of pyproject.toml, separated by commas; others: dask, ray, 4bit, tensorboard, wandb, harness.
ARG EXTRAS=s3,lora

ENV PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_CONSTRAINT=/app/constraints.txt
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
WORKDIR /app

RUN python -m venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH

# Layers of what changes seldom come first. PyTorch comes from its own index without dependencies, so
# that no other package is taken from there.
COPY constraints.txt ./
RUN pip install --no-deps --index-url "$TORCH_INDEX" "$(grep '^torch==' constraints.txt)"

COPY pyproject.toml tools/requirements.py ./
RUN python requirements.py pyproject.toml "$EXTRAS" > /tmp/requirements.txt \
    && pip install -r /tmp/requirements.txt \
    && rm /tmp/requirements.txt requirements.py

# An editable installation: Prefect loads flows/deployed.py as a file of the working directory.
COPY README.md LICENSE automations.yaml prefect.yaml ./
COPY curation ./curation
COPY data_cards ./data_cards
COPY diffusion ./diffusion
COPY flows ./flows
COPY polytrace ./polytrace
COPY schemas ./schemas
COPY scorers ./scorers
COPY support ./support
COPY tiny ./tiny
RUN pip install --no-deps --editable .


FROM python:3.11-slim-bookworm

# Volumes take over the owner of the folders that they cover. Each parent is named too, or it would
# belong to root.
RUN useradd --create-home --uid 10001 --user-group polytrace \
    && install --directory --owner=polytrace --group=polytrace \
        /app/runs /home/polytrace/.prefect /home/polytrace/.cache /home/polytrace/.cache/huggingface

COPY --from=build /opt/venv /opt/venv
COPY --from=build /app /app

ENV PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    DO_NOT_TRACK=1 \
    PREFECT_SERVER_ANALYTICS_ENABLED=false
WORKDIR /app
USER 10001:10001

# A command of polytrace ends by itself. What keeps running has its check in compose.yaml.
HEALTHCHECK NONE
ENTRYPOINT ["polytrace"]
CMD ["--help"]
