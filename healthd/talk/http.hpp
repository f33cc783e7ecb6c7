// HTTP/1.1 (RFC 9110, RFC 9112): one request, one answer, read by Boost.Beast's parser.
//
// The verdict is made as soon as it is certain: a status that is not wanted ends it at once, a wanted one after the
// header. Only with expect_text or expect_regex the body is read, up to 64 KiB of the whole answer; what is expected
// must be in its body, chunks put together. A text ends it where it was found, an expression is compared with the whole
// body. Interim answers (1xx) are passed over. Redirections are not followed: 301 is an answer with status 301.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "healthd/talk/talk.hpp"
#include "lbcluster/base/result.hpp"

namespace lbcluster::health {

// What all conversations of one probe share. `spec` outlives it.
struct HttpCheck {
    std::string request;
    bool head = false;
    std::vector<std::uint32_t> wanted;   // sorted; empty: 200 to 399
    std::vector<std::uint32_t> standby;  // sorted
    const config::Check* check = nullptr;

    // Error: what in the check cannot be put into a request.
    static Result<std::shared_ptr<const HttpCheck>> make(const ProbeSpec& spec);
};

std::unique_ptr<Talk> make_http_talk(std::shared_ptr<const HttpCheck> check);
// The same for one conversation; a check that has an error makes one that is unusable and says so.
std::unique_ptr<Talk> make_http_talk(const ProbeSpec& spec);

// The host in a Host header, without its port and brackets: "[::1]:8443" -> "::1".
std::string host_name_of(const std::string& host);

}  // namespace lbcluster::health
