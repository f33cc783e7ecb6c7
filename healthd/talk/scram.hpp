// The client's side of SCRAM-SHA-256 (RFC 5802, 7677) without channel binding. Pure; each message is checked, the
// server's signature too, so that at the end both have shown that they know the password. A password is used as it is,
// without SASLprep: right for all of ASCII.
#pragma once

#include <string>
#include <string_view>

#include "lbcluster/base/result.hpp"

namespace lbcluster::health {

class ScramSha256 {
  public:
    // A server says how often to hash; more than this would hold up all other probes (PostgreSQL's default: 4096).
    static constexpr unsigned iterations_max = 100'000;

    // `nonce`: printable, no comma.
    ScramSha256(const std::string& user, std::string password, std::string nonce);

    [[nodiscard]] std::string client_first() const { return "n,," + first_bare_; }
    Result<std::string> client_final(std::string_view server_first);
    [[nodiscard]] Result<void> check_server_final(std::string_view server_final) const;

  private:
    std::string password_;
    std::string nonce_;
    std::string first_bare_;
    std::string server_signature_;
};

}  // namespace lbcluster::health
