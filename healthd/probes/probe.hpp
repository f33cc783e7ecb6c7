// A probe: asks one real server one question, once at a time, again and again. Made once for a target and kept.
//
// One thread: the io_context's. The deadline of the whole probe is the caller's business: it calls stop().
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "healthd/core/types.hpp"

namespace lbcluster::health {

// What was sent and what came back, for `lbcluster check`. Bounded; secrets are masked by whoever writes.
class Transcript {
  public:
    static constexpr std::size_t bytes_max = 16 * 1024;

    void note(std::string_view text);       // "connected to 10.0.0.1:80 in 0.4 ms"
    void sent(std::string_view bytes);      // "> GET / HTTP/1.1"
    void received(std::string_view bytes);  // "< HTTP/1.1 200 OK"
    [[nodiscard]] const std::string& text() const { return text_; }

  private:
    void add(std::string_view mark, std::string_view bytes, bool escape);
    std::string text_;
};

class Probe {
  public:
    using Done = std::function<void(Outcome)>;

    Probe() = default;
    virtual ~Probe() = default;  // stops
    Probe(const Probe&) = delete;
    Probe& operator=(const Probe&) = delete;
    Probe(Probe&&) = delete;
    Probe& operator=(Probe&&) = delete;

    // Begins. `done` is called once, never from inside start(), unless stop() came first. Not while one is under way.
    // `transcript` lives until `done` or stop(); null: nobody wants to know.
    virtual void start(Done done, Transcript* transcript = nullptr) = 0;
    // Ends it at once: sockets closed, children killed, no `done`. What had been reached, for the reason of a timeout:
    // "connect", "TLS handshake", "answer to EHLO"; empty if nothing was under way.
    virtual std::string stop() = 0;
};

}  // namespace lbcluster::health
