// A conversation with a server, without sockets: bytes in, bytes out, an outcome at the end. Everything a server says
// is hostile input: bounded, checked, fuzzed (tests/fuzz). One Talk is one conversation; it is made anew for each
// probe.
//
// The shell (probes/stream.hpp, probes/datagram.hpp) connects, does TLS, keeps the deadline and moves the bytes.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "healthd/core/types.hpp"

namespace lbcluster::health {

class Talk {
  public:
    // What the shell shall do next. `send` goes out first in any case.
    enum class Next {
        read,       // more bytes
        start_tls,  // handshake, then on_tls(); bytes that came before the handshake are an injection: the shell fails
        done,       // `outcome` holds; the connection is closed after `send` was written (if it can be at once)
    };
    struct Step {
        Next next = Next::read;
        std::string send;
        Outcome outcome;
        bool secret = false;  // `send` is masked in transcripts
    };

    static constexpr std::size_t received_bytes_max = 64 * 1024;  // of one conversation; more: the shell fails it

    Talk() = default;
    virtual ~Talk() = default;
    Talk(const Talk&) = delete;
    Talk& operator=(const Talk&) = delete;
    Talk(Talk&&) = delete;
    Talk& operator=(Talk&&) = delete;

    virtual Step on_connected() = 0;  // after the TLS handshake if TLS comes from the first byte
    // New bytes only (a Talk keeps what it still needs); on UDP one whole datagram.
    virtual Step on_bytes(std::string_view bytes) = 0;
    virtual Step on_tls() = 0;  // after Next::start_tls
    virtual Step on_end() = 0;  // the server closed; always `done`
    // What is waited for, for the reason of a timeout: "greeting", "answer to EHLO".
    [[nodiscard]] virtual std::string waiting_for() const = 0;
};

enum class Transport { tcp, tls, udp };  // tls: from the first byte

// The transport of a `negotiate` check's protocol (its tls and starttls keys count).
Transport transport_of(const config::Check& check);
// What ALPN offers in a TLS handshake: "h2" for gRPC, "postgresql", ...; empty: nothing.
std::string_view alpn_of(const config::Check& check);
// For every protocol of `negotiate` (not for connect, ping, external). Null: that protocol needs none (tls: the
// handshake is all). `spec` outlives the Talk.
std::unique_ptr<Talk> make_talk(const ProbeSpec& spec);

}  // namespace lbcluster::health
