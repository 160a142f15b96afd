# development has Go and the source: tests, and a server made from the working tree.
FROM golang:1.26-bookworm AS development
WORKDIR /src
# The source may be mounted without a repository that git trusts.
ENV CGO_ENABLED=0 GOFLAGS=-buildvcs=false
COPY go.mod go.sum ./
RUN go mod download
COPY . .
EXPOSE 8080
CMD ["go", "run", "./cmd/server"]

FROM development AS build
RUN mkdir -p /out/bin /out/data && \
    go build -trimpath -ldflags="-s -w" -o /out/bin/ ./cmd/server ./cmd/migrate ./cmd/votectl

# The image that is deployed: three static programs, the certificates of the
# authorities, and nothing else. The folder is where the embedded engines keep
# their data; with PostgreSQL nothing is written.
FROM scratch AS production
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /out/bin/ /usr/local/bin/
COPY --from=build --chown=65532:65532 /out/data /vote/data
ENV PATH=/usr/local/bin
WORKDIR /vote
USER 65532:65532
VOLUME /vote/data
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=5s --timeout=5s --start-period=60s --retries=3 CMD ["server", "ready"]
ENTRYPOINT ["server"]
