# Builds kvasir from this tree; the second stage has the binary and the libraries that it loads, nothing else.
FROM debian:12-slim AS build
WORKDIR /kvasir
COPY . .
RUN ./dev build release kvasir

FROM debian:12-slim
RUN apt-get update \
 && apt-get install -y --no-install-recommends ca-certificates curl libcurl4 libfmt9 libhwy1 libpcre2-8-0 libprometheus-cpp-core1.0 libspdlog1.10 libutf8proc2 libxxhash0 \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --system --create-home --shell /usr/sbin/nologin kvasir \
 && install --directory --owner kvasir /home/kvasir/.cache /home/kvasir/.cache/huggingface
COPY --from=build /kvasir/build/release/apps/kvasir /usr/local/bin/kvasir
USER kvasir
WORKDIR /home/kvasir
ENV KVASIR_HOST=0.0.0.0
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s --retries=3 \
  CMD curl -fsS http://127.0.0.1:${KVASIR_PORT:-8000}/health || exit 1
ENTRYPOINT ["kvasir"]
CMD ["serve"]
