// The HTTP conversation. The first byte chooses the check and how the answer is cut. Whatever a server says, there is a
// verdict with a clean reason, and the same one however the answer is cut.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>

#include "healthd/talk/http.hpp"
#include "lbcluster/base/assert.hpp"

namespace {

using namespace lbcluster;
using namespace lbcluster::health;

ProbeSpec spec_of(unsigned kind) {
    ProbeSpec spec;
    spec.address = IpAddress::v4({10, 0, 0, 1});
    spec.port = 80;
    spec.check.set_type(config::CHECK_TYPE_NEGOTIATE);
    spec.check.set_protocol(config::CHECK_PROTOCOL_HTTP);
    if (kind == 1) spec.check.set_expect_text("OK");
    if (kind == 2) spec.check.set_expect_regex("^a.*z$");
    if (kind == 3) spec.check.set_method(config::HTTP_METHOD_HEAD);
    if (kind == 3) spec.check.add_standby_status(503);
    return spec;
}

Outcome outcome_of(const ProbeSpec& spec, std::string_view answer, std::size_t piece) {
    const auto talk = make_http_talk(spec);
    LBC_ASSERT(talk->on_connected().next == Talk::Next::read);
    answer = answer.substr(0, Talk::received_bytes_max);
    for (; !answer.empty(); answer.remove_prefix(std::min(piece, answer.size()))) {
        const auto step = talk->on_bytes(answer.substr(0, piece));
        LBC_ASSERT(step.next != Talk::Next::start_tls && step.send.empty());
        if (step.next == Talk::Next::done) return step.outcome;
        LBC_ASSERT(!talk->waiting_for().empty());
    }
    const auto step = talk->on_end();
    LBC_ASSERT(step.next == Talk::Next::done);
    return step.outcome;
}

void check(const Outcome& outcome) {
    LBC_ASSERT(!outcome.reason.empty() && outcome.reason.size() <= reason_bytes_max);
    LBC_ASSERT(std::all_of(outcome.reason.begin(), outcome.reason.end(), [](char c) { return c >= ' ' && c <= '~'; }));
    LBC_ASSERT(outcome.finding != Finding::unusable);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (size == 0) return 0;
    static const ProbeSpec specs[] = {spec_of(0), spec_of(1), spec_of(2), spec_of(3)};
    const ProbeSpec& spec = specs[data[0] & 3U];
    const std::size_t piece = (data[0] >> 2U) + 1U;
    const std::string_view answer(reinterpret_cast<const char*>(data) + 1, size - 1);
    const Outcome in_pieces = outcome_of(spec, answer, piece);
    const Outcome whole = outcome_of(spec, answer, Talk::received_bytes_max);
    check(in_pieces);
    check(whole);
    LBC_ASSERT(in_pieces.finding == whole.finding);
    return 0;
}
