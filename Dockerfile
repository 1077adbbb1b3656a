# docker build -t audio-assets .
# docker run -p 127.0.0.1:3000:3000 -v ~/Music:/music:ro -v audio-assets:/data audio-assets
FROM python:3.11-slim-bookworm

ENV PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PYTHONUNBUFFERED=1

WORKDIR /opt/audio-assets
COPY requirements.lock pyproject.toml README.md LICENSE ./
COPY audio_assets ./audio_assets
COPY resources ./resources
# The lock holds what tests and linters need as well; as a constraint it pins without installing those.
# Extras of pyproject.toml, for an image that does more: --build-arg EXTRAS=k8s
ARG EXTRAS=
RUN pip install --constraint requirements.lock ".${EXTRAS:+[$EXTRAS]}"

# Kernels that numba compiles, models and everything computed are kept on the volume.
ENV AUDIO_ASSETS_DATA=/data \
    AUDIO_ASSETS_LIBRARY=/music \
    DAGSTER_HOME=/data/dagster \
    DAGSTER_DISABLE_TELEMETRY=1 \
    HOME=/data/home \
    NUMBA_CACHE_DIR=/data/home/numba
RUN useradd --system --uid 10001 --no-create-home --home-dir /data/home audio \
    && mkdir -p /data/home /data/dagster /music \
    && chown -R audio /data
USER audio
WORKDIR /data
VOLUME ["/data"]
EXPOSE 3000
# Dagster ends its processes in order on an interrupt.
STOPSIGNAL SIGINT

HEALTHCHECK --interval=30s --timeout=5s --start-period=60s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:3000/server_info', timeout=4)"]

# Inside the container the UI listens on all addresses, or it could not be reached at all. It has no login:
# publish it on the host's loopback, as above, or put an authenticating proxy in front.
CMD ["audio-assets", "ui", "--host", "0.0.0.0"]
