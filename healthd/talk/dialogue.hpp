// The talkative protocols: we wait for a reply, say a line, wait for the next reply. A protocol is data, a list of
// exchanges (dialogue_protocols.cpp); the engine here sends, finds where a reply ends, compares it with what is wanted
// and goes on. SMTP (RFC 5321, 3207, 4954), POP3 (RFC 1939, 2595), IMAP (RFC 3501), FTP (RFC 959, 4217), NNTP (RFC
// 3977, 4642), Redis (RESP2).
//
// Bounded: a reply has at most reply_bytes_max, a line of it line_bytes_max. A user or password that would end its line
// is never sent.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "healthd/talk/parts.hpp"

namespace lbcluster::health {

// What is known about a conversation; an exchange happens depending on it.
using Facts = std::uint32_t;
namespace fact {
inline constexpr Facts starttls = 1U << 0U;  // wanted by the configuration
inline constexpr Facts user = 1U << 1U;
inline constexpr Facts password = 1U << 2U;
inline constexpr Facts expects = 1U << 3U;    // expect_text or expect_regex
inline constexpr Facts eight_bit = 1U << 4U;  // user or password do not fit into quotes
inline constexpr Facts of_configuration = (1U << 8U) - 1U;
// From here on the server's, of one protocol; forgotten when TLS begins (RFC 3207, 4.2).
inline constexpr Facts first_of_server = 1U << 8U;
}  // namespace fact

struct Wanted {
    std::string_view status;
    Facts then = 0;  // become known with this reply
};

struct Exchange {
    std::string_view name;  // "greeting", "EHLO": for reasons
    std::string_view tag;   // IMAP: of the reply that ends this exchange
    // With placeholders: <user>, <password>, <user_bytes> (its length), <user_base64>, <user_quoted>, the same for
    // password, <plain> (SASL PLAIN, base64). Empty: the server speaks first.
    std::string_view send;
    std::array<Wanted, 2> wanted;
    Facts when = 0;           // all of these
    Facts unless = 0;         // none of these
    std::string_view refuse;  // instead of an exchange: who comes here is down, for this reason
    bool secret = false;
    bool start_tls = false;  // after the wanted reply
    bool expect = false;     // expect_text and expect_regex look at this reply
};

struct Reply {
    std::string_view status;  // what is compared: "220", "+OK"
    std::string_view line;    // what is shown
    std::string_view all;     // what expect_text looks at
    std::size_t bytes = 0;    // how much of the buffer it was
};
enum class Reading { more, whole, wrong };

// What a server may offer, in a line of a reply: `250-AUTH PLAIN LOGIN`.
struct Offer {
    std::string_view keyword;
    std::string_view parameter;
    Facts known;
};

struct DialogueProtocol {
    std::string_view name;
    Reading (*read)(std::string_view buffer, std::string_view tag, Reply& reply);
    std::span<const Exchange> exchanges;
    std::span<const Offer> offers;
    std::string_view goodbye;
    bool counted_values = false;  // values go with their length, so they may contain anything
};

const DialogueProtocol& smtp_protocol();
const DialogueProtocol& pop3_protocol();
const DialogueProtocol& imap_protocol();
const DialogueProtocol& ftp_protocol();
const DialogueProtocol& nntp_protocol();
const DialogueProtocol& redis_protocol();

class Dialogue final : public Talk {
  public:
    static constexpr std::size_t reply_bytes_max = 16 * 1024;
    static constexpr std::size_t line_bytes_max = 4096;

    Dialogue(const DialogueProtocol& protocol, const config::Check& check);

    Step on_connected() override;
    Step on_bytes(std::string_view bytes) override;
    Step on_tls() override;
    Step on_end() override;
    [[nodiscard]] std::string waiting_for() const override;

  private:
    [[nodiscard]] const Exchange& now() const { return protocol_.exchanges[at_]; }
    [[nodiscard]] std::string where() const;  // "SMTP" or "SMTP EHLO"
    [[nodiscard]] std::string expanded(std::string_view text) const;
    [[nodiscard]] std::string value_of(std::string_view placeholder) const;
    [[nodiscard]] std::string wanted_text() const;
    Step proceed();  // to the next exchange that is due
    Step judge(const Reply& reply);
    void learn(std::string_view reply);

    const DialogueProtocol& protocol_;
    const config::Check& check_;
    Facts facts_ = 0;
    std::size_t at_ = 0;
    std::string buffer_;
    std::string first_line_;  // of the greeting, for the reason
};

}  // namespace lbcluster::health
