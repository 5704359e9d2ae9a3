# The CPU service. Build from the project's root: docker build --file docker/preprocess.Dockerfile .
ARG BASE=python:3.11-slim-bookworm

FROM ${BASE} AS build
WORKDIR /source
COPY . .
RUN --mount=type=cache,target=/root/.cache/pip \
    python -m venv /opt/painterly && \
    /opt/painterly/bin/pip install --constraint constraints.txt ".[preprocess]"

FROM ${BASE}
# OpenCV's wheel loads these two. Their versions are those of the base image's release.
# hadolint ignore=DL3008
RUN apt-get update && \
    apt-get install --no-install-recommends --yes libgl1 libglib2.0-0 && \
    rm -rf /var/lib/apt/lists/* && \
    groupadd --gid 10001 painterly && \
    useradd --uid 10001 --gid painterly --no-create-home --home-dir /tmp --shell /usr/sbin/nologin painterly && \
    install --directory --owner=painterly --group=painterly /weights
COPY --from=build /opt/painterly /opt/painterly
ENV PATH=/opt/painterly/bin:$PATH \
    HOME=/tmp \
    PYTHONDONTWRITEBYTECODE=1 \
    PAINTERLY_WEIGHTS_DIR=/weights \
    PAINTERLY_PREPROCESS_HOST=0.0.0.0 \
    PAINTERLY_PREPROCESS_PORT=50051 \
    PAINTERLY_PREPROCESS_METRICS=0.0.0.0:9464
USER 10001:10001
WORKDIR /tmp
EXPOSE 50051 9464
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=15s --timeout=10s --start-period=120s --retries=3 \
    CMD ["painterly", "health", "127.0.0.1:50051"]
CMD ["painterly-preprocess"]
