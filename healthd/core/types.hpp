// What the health core, the probes and the daemon say to each other. Plain values; no clock, socket, thread or log.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "lbcluster/base/address.hpp"
#include "lbcluster/base/time.hpp"
#include "lbcluster/config.pb.h"

namespace lbcluster::health {

// What one probe, or one round of a composite check, found.
enum class Finding {
    up,
    standby,   // healthy, but says that another one serves (standby_status)
    down,      // the server's fault: refused, silent, wrong answer, bad certificate
    unusable,  // our own fault (no descriptor, no route, aborted): says nothing about the server
};

struct Outcome {
    Finding finding = Finding::unusable;
    // For people, one line, which layer and why: "HTTP 503, wanted 200", "connect: connection refused", "TLS:
    // certificate has expired", "no answer to HELO within 3s". Printable ASCII, at most reason_bytes_max; never a
    // secret.
    std::string reason;
};

inline constexpr std::size_t reason_bytes_max = 200;

// Bytes of a peer's answer for a reason or a transcript: printable, quotes and control bytes escaped, cut with "...".
std::string printable(std::string_view bytes, std::size_t bytes_max);

// One leaf of a check: what is sent where. Equal specs (see key) are probed once, however many services use them.
struct ProbeSpec {
    config::Check check;     // without composites, interval, timeout, fall, rise, feedback and port
    IpAddress address;       // of the real server
    std::uint16_t port = 0;  // 0: none needed (ping, always_up, always_down)
    // What checks know of the service: Host header (http), first arguments (external). Elsewhere empty, so that
    // services share probes.
    std::string virtual_address;
    std::uint16_t virtual_port = 0;

    [[nodiscard]] std::string key() const;  // equal for equal specs
};

}  // namespace lbcluster::health
