// HC-3: what servers say, every protocol. The first byte is the protocol, the second the settings (one bit each,
// below), the third how long the pieces are; the rest is what the server says, also after a TLS handshake that goes
// well. The rest is said again and again until the conversation is done or 64 KiB have come, where the shell would end
// it.
#include <google/protobuf/stubs/logging.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "healthd/talk/feedback.hpp"
#include "healthd/talk/protocols.hpp"
#include "lbcluster/base/assert.hpp"

namespace {

using namespace lbcluster;
using namespace lbcluster::health;

// TLS has no conversation; its number is the feedback agent's here.
constexpr config::CheckProtocol agent = config::CHECK_PROTOCOL_TLS;

ProbeSpec spec_of(std::uint8_t protocol, std::uint8_t settings) {
    ProbeSpec spec;
    spec.address = *IpAddress::parse("192.0.2.7");
    spec.port = 4711;
    config::Check& check = spec.check;
    check.set_type(config::CHECK_TYPE_NEGOTIATE);
    check.set_protocol(static_cast<config::CheckProtocol>(1 + protocol % config::CheckProtocol_MAX));
    check.set_secret("xyzzy5461");
    const auto on = [&](unsigned bit) { return (settings >> bit & 1U) != 0; };
    if (on(0)) check.set_user("al");
    if (on(1)) check.set_password("s3cret");
    if (on(2)) check.mutable_tls()->set_starttls(true);
    if (on(3)) check.set_expect_text("ready");
    if (on(4)) check.set_expect_regex("[a-z]+[0-9]?.*x");
    if (on(5))
        check.set_request(check.protocol() == config::CHECK_PROTOCOL_SIP ? "sip:a;transport=tcp" : "a.example TXT");
    if (on(6)) check.set_send("hello");
    if (on(6)) check.set_expect("world");
    if (on(7)) check.add_expect_status(404);
    if (check.protocol() == agent) check.clear_password();  // the agent has no secret to keep
    if (check.protocol() == agent) check.clear_secret();
    return spec;
}

// Known bytes, so that an input can hold a fitting id, nonce or authenticator.
void known_random(std::span<std::uint8_t> bytes) { std::fill(bytes.begin(), bytes.end(), 0xaa); }

std::unique_ptr<Talk> talk_of(const ProbeSpec& spec) {
    switch (spec.check.protocol()) {
        case config::CHECK_PROTOCOL_DNS:
            return make_dns_talk(spec, known_random);
        case config::CHECK_PROTOCOL_POSTGRESQL:
            return make_postgresql_talk(spec, known_random);
        case config::CHECK_PROTOCOL_RADIUS:
            return make_radius_talk(spec, known_random);
        case config::CHECK_PROTOCOL_SIP:
            return make_sip_talk(spec, known_random);
        case agent:
            return make_feedback_talk(
                [](const FeedbackAnswer& answer) { LBC_ASSERT(!answer.percent || *answer.percent <= 100); });
        default:
            return make_talk(spec);
    }
}

void look_at(const Talk::Step& step, const config::Check& check) {
    LBC_ASSERT(step.send.size() <= std::size_t{128} * 1024);
    if (step.next != Talk::Next::done) return;
    LBC_ASSERT(!step.outcome.reason.empty() && step.outcome.reason.size() <= reason_bytes_max);
    for (const std::string& secret : {check.password(), check.secret()}) {
        LBC_ASSERT(secret.empty() || step.outcome.reason.find(secret) == std::string::npos);
    }
    LBC_ASSERT(std::all_of(step.outcome.reason.begin(), step.outcome.reason.end(),
                           [](unsigned char c) { return c >= 0x20 && c < 0x7f; }));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    google::protobuf::SetLogHandler(nullptr);
    constexpr std::size_t settings_bytes = 3;
    if (size < settings_bytes) return 0;
    const ProbeSpec spec = spec_of(data[0], data[1]);
    const std::unique_ptr<Talk> talk = talk_of(spec);
    if (talk == nullptr) return 0;
    const std::string_view said(reinterpret_cast<const char*>(data) + settings_bytes, size - settings_bytes);
    const std::size_t piece = data[2] == 0 ? said.size() : data[2];

    Talk::Step step = talk->on_connected();
    look_at(step, spec.check);
    // Small pieces are not said again: that takes long and shows no more.
    const std::size_t bytes_max = std::min(piece, said.size()) < 64 ? said.size() : Talk::received_bytes_max;
    for (std::size_t received = 0, at = 0; step.next != Talk::Next::done && received < bytes_max && !said.empty();) {
        if (step.next == Talk::Next::start_tls) {
            step = talk->on_tls();
        } else {
            const std::string_view bytes = said.substr(at, piece);
            step = talk->on_bytes(bytes);
            received += bytes.size();
            at = (at + bytes.size()) % said.size();
        }
        look_at(step, spec.check);
        LBC_ASSERT(step.next == Talk::Next::done || talk->waiting_for().size() < 80);
    }
    if (step.next != Talk::Next::done) {
        step = talk->on_end();
        LBC_ASSERT(step.next == Talk::Next::done);
        look_at(step, spec.check);
    }
    return 0;
}
