ARG BASE=gcr.io/distroless/cc-debian12:nonroot
FROM ${BASE}
ARG VERSION=0.0.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="rookery-translator" \
      org.opencontainers.image.description="The translator of Rookery" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      chat.rookery.sbom="/usr/share/sbom/rookery-translator.cdx.json"
# /usr/local/bin/rookery-translator, its licence, and the list of what it is made of, with their times: images/build makes it.
ADD files.tar /
# By number, so that Kubernetes sees that it is not root.
USER 65532:65532
ENTRYPOINT ["/usr/local/bin/rookery-translator"]
CMD ["serve"]
