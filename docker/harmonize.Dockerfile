# The GPU service; it runs without a GPU too. Build from the project's root: docker build --file docker/harmonize.Dockerfile .
# The CUDA wheels bring their libraries along: the base needs none.
ARG BASE=python:3.11-slim-bookworm

FROM ${BASE} AS build
WORKDIR /source
COPY . .
RUN --mount=type=cache,target=/root/.cache/pip \
    python -m venv /opt/painterly && \
    /opt/painterly/bin/pip install --constraint constraints.txt ".[harmonize]"

FROM ${BASE}
RUN groupadd --gid 10001 painterly && \
    useradd --uid 10001 --gid painterly --no-create-home --home-dir /tmp --shell /usr/sbin/nologin painterly && \
    install --directory --owner=painterly --group=painterly /weights /jobs
COPY --from=build /opt/painterly /opt/painterly
ENV PATH=/opt/painterly/bin:$PATH \
    HOME=/tmp \
    PYTHONDONTWRITEBYTECODE=1 \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility \
    PAINTERLY_WEIGHTS_DIR=/weights \
    PAINTERLY_HARMONIZE_DATA_FOLDER=/jobs \
    PAINTERLY_HARMONIZE_HOST=0.0.0.0 \
    PAINTERLY_HARMONIZE_PORT=50052 \
    PAINTERLY_HARMONIZE_METRICS=0.0.0.0:9464
USER 10001:10001
WORKDIR /tmp
EXPOSE 50052 9464
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=15s --timeout=10s --start-period=120s --retries=3 \
    CMD ["painterly", "health", "127.0.0.1:50052"]
CMD ["painterly-harmonize"]
