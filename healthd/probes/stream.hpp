// Probe over TCP or TLS: connects, shakes hands, moves the bytes of a Talk. All that a server may do wrong here is a
// reason: refusing, hanging, resetting, closing early, saying too much (Talk::received_bytes_max), speaking in the
// clear before it switches to TLS (an injection: RFC 3207 section 6 and CVE-2011-0411).
//
// When the Talk is done the connection ends by RST, so that thousands of probes leave no TIME_WAIT; after a goodbye
// (QUIT, or TLS's close_notify) by FIN, so that it arrives.
#pragma once

#include <functional>
#include <memory>

#include "healthd/probes/base.hpp"
#include "healthd/probes/tls.hpp"
#include "healthd/talk/talk.hpp"

namespace lbcluster::health {

// What a stream probe is made of.
struct StreamSettings {
    IpAddress address;
    std::uint16_t port = 0;
    // A new conversation; null: the connection (and its handshake) is all.
    std::function<std::unique_ptr<Talk>()> make_talk;
    std::shared_ptr<TlsFiles> tls;  // null: TLS is never spoken
    bool tls_first = false;
    std::string tls_name;
};

class StreamProbe final : public PolledProbe {
  public:
    StreamProbe(Poller& poller, StreamSettings settings);

  private:
    enum class Phase { connecting, handshake, talking };

    void begin() override;
    void go_on(std::uint32_t events) override;
    void end() override;
    std::string waiting_for() const override;

    // Each tells whether the probe goes on; if not it is settled, and `this` may be gone.
    bool connected();
    bool begin_handshake();
    bool handshake();
    bool flush();
    bool receive();
    bool feed(std::string_view bytes);
    bool take(Talk::Step step);
    bool fail(Outcome outcome);

    TlsSession::Io read(char* to, std::size_t bytes_max, std::size_t& bytes);
    TlsSession::Io write(std::string_view from, std::size_t& bytes);
    [[nodiscard]] std::string broken(std::string_view doing) const;

    Poller& poller_;
    StreamSettings settings_;
    SocketAddress to_;
    std::unique_ptr<Talk> talk_;
    std::unique_ptr<TlsSession> tls_;
    Phase phase_ = Phase::connecting;
    std::string out_;        // not written yet
    bool tls_next_ = false;  // after `out_`
    int errno_ = 0;
    std::size_t received_bytes_ = 0;
};

}  // namespace lbcluster::health
