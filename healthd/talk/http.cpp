#include "healthd/talk/http.hpp"

#include <algorithm>
#include <boost/beast/http/basic_parser.hpp>
#include <cctype>
#include <optional>
#include <utility>

#include "healthd/talk/expectation.hpp"
#include "healthd/talk/parts.hpp"
#include "lbcluster/base/assert.hpp"
#include "lbcluster/config/schema.hpp"

namespace lbcluster::health {
namespace {

namespace http = boost::beast::http;
using boost::beast::error_code;
using boost::beast::string_view;

constexpr std::size_t shown_bytes_max = 60;

// Status and body are all that matters, so no field is stored.
class AnswerParser final : public http::basic_parser<false> {
  public:
    AnswerParser(bool head, std::string* body) : body_(body) {
        // The conversation has a limit; the parser's own would depend on how the answer is cut.
        header_limit(2 * Talk::received_bytes_max);
        body_limit(boost::none);
        eager(true);
        skip(head);
    }
    [[nodiscard]] unsigned status() const { return status_; }  // 0: not known yet

  private:
    void on_request_impl(http::verb, string_view, string_view, int, error_code&) override {}
    void on_response_impl(int code, string_view, int, error_code&) override { status_ = static_cast<unsigned>(code); }
    void on_field_impl(http::field, string_view, string_view, error_code&) override {}
    void on_header_impl(error_code&) override {}
    void on_body_init_impl(const boost::optional<std::uint64_t>&, error_code&) override {}
    std::size_t on_body_impl(string_view bytes, error_code&) override {
        if (body_ != nullptr) body_->append(bytes.data(), bytes.size());
        return bytes.size();
    }
    void on_chunk_header_impl(std::uint64_t, string_view, error_code&) override {}
    std::size_t on_chunk_body_impl(std::uint64_t, string_view bytes, error_code& error) override {
        return on_body_impl(bytes, error);
    }
    void on_finish_impl(error_code&) override {}

    std::string* body_;
    unsigned status_ = 0;
};

bool contains(const std::vector<std::uint32_t>& sorted, unsigned status) {
    return std::binary_search(sorted.begin(), sorted.end(), status);
}

// "200-204, 301"
std::string list_text(const std::vector<std::uint32_t>& sorted) {
    std::string out;
    for (std::size_t i = 0; i < sorted.size();) {
        std::size_t last = i;
        while (last + 1 < sorted.size() && sorted[last + 1] == sorted[last] + 1) ++last;
        if (!out.empty()) out += ", ";
        out += std::to_string(sorted[i]);
        if (last > i) out += '-' + std::to_string(sorted[last]);
        i = last + 1;
    }
    return out;
}

class HttpTalk final : public Talk {
  public:
    explicit HttpTalk(std::shared_ptr<const HttpCheck> check) : check_(std::move(check)), expectation_(*check_->check) {
        parser_.emplace(check_->head, expectation_.any() ? &body_ : nullptr);
    }

    Step on_connected() override { return say(check_->request); }
    Step on_tls() override { return unusable("HTTP does not switch to TLS"); }

    Step on_bytes(std::string_view bytes) override {
        received_bytes_ += bytes.size();
        if (!pending_.empty()) {
            pending_ += bytes;
            bytes = pending_;
        }
        while (!bytes.empty()) {
            error_code error;
            const std::size_t used = parser_->put({bytes.data(), bytes.size()}, error);
            const std::string_view begin = bytes;
            bytes.remove_prefix(used);
            if (auto step = look(error, begin)) return std::move(*step);
            if (error == http::error::need_more || used == 0) break;
        }
        if (received_bytes_ >= received_bytes_max) return at_limit();
        // What is kept stays where it is: a header that comes byte by byte must not be copied for each of them.
        if (bytes.empty()) pending_.clear();
        else if (pending_.empty()) pending_ = bytes;
        else pending_.erase(0, pending_.size() - bytes.size());
        return {};
    }

    Step on_end() override {
        if (received_bytes_ == 0) return down("the server closed the connection without an answer");
        error_code error;
        if (parser_->got_some()) parser_->put_eof(error);
        if (!error && parser_->is_done() && !is_interim()) return judge_body();
        if (!parser_->is_header_done()) return down("the server closed the connection in the header of its answer");
        if (is_interim()) return down(status_text() + " and then no answer");
        const std::string missing = expectation_.missing(body_);
        if (missing.empty() && check_->check->expect_regex().empty()) return good();
        return down(status_text() + ", but the connection was closed in the middle of the body (" +
                    std::to_string(body_.size()) + " bytes came)");
    }

    std::string waiting_for() const override {
        if (received_bytes_ == 0) return check_->head ? "answer to HEAD" : "answer to GET";
        return parser_->is_header_done() && !is_interim() ? "rest of the body" : "rest of the header";
    }

  private:
    [[nodiscard]] std::string status_text() const { return "HTTP " + std::to_string(parser_->status()); }
    [[nodiscard]] bool is_wanted() const {
        const unsigned status = parser_->status();
        return check_->wanted.empty() ? status >= 200 && status <= 399 : contains(check_->wanted, status);
    }
    [[nodiscard]] bool is_standby() const { return contains(check_->standby, parser_->status()); }
    // 101 is none: nobody asked to switch protocols.
    [[nodiscard]] bool is_interim() const {
        const unsigned status = parser_->status();
        return status >= 100 && status <= 199 && status != 101 && !is_wanted() && !is_standby();
    }

    // After each piece the parser took. Nothing: more is needed.
    std::optional<Step> look(const error_code& error, std::string_view begin) {
        const bool known = parser_->status() != 0;
        if (known && !is_wanted() && !is_standby() && !is_interim()) {
            std::string reason = status_text() + ", wanted ";
            reason += check_->wanted.empty() ? "200-399" : list_text(check_->wanted);
            if (!check_->standby.empty()) reason += ", or " + list_text(check_->standby) + " for standby";
            return down(std::move(reason));
        }
        const bool answered = parser_->is_header_done() && !is_interim();
        if (answered && is_standby()) return finish(Finding::standby, status_text() + ", standby");
        if (answered && (!expectation_.any() || text_found())) return good();
        if (error && error != http::error::need_more) return not_http(error, begin);
        if (answered && parser_->is_done()) return judge_body();
        if (parser_->is_header_done() && !answered) {
            parser_.emplace(check_->head, expectation_.any() ? &body_ : nullptr);
        }
        return std::nullopt;
    }

    // Looks at each byte of the body about once, however it is split.
    bool text_found() {
        const std::string& text = check_->check->expect_text();
        if (text.empty() || !check_->check->expect_regex().empty()) return false;
        const std::size_t from = looked_bytes_ < text.size() ? 0 : looked_bytes_ - text.size() + 1;
        looked_bytes_ = body_.size();
        return body_.find(text, from) != std::string::npos;
    }

    Step good() { return up(status_text()); }

    Step judge_body(std::string_view where = "") {
        const std::string missing = expectation_.missing(body_);
        if (missing.empty()) return good();
        // A page of error may repeat the request.
        const std::string begin = shown(config::mask_secrets(std::string_view(body_).substr(0, 2 * shown_bytes_max)),
                                        *check_->check, shown_bytes_max);
        return down(status_text() + ", but " + missing + std::string(where) +
                    (body_.empty() ? ", its body is empty" : ", which begins with \"" + begin + "\""));
    }

    Step at_limit() {
        if (parser_->is_header_done()) return judge_body(" (64 KiB of it)");
        return down("the header of the answer has no end");
    }

    Step not_http(const error_code& error, std::string_view begin) {
        const std::string text =
            shown(config::mask_secrets(begin.substr(0, shown_bytes_max)), *check_->check, shown_bytes_max);
        return down((parser_->status() == 0 ? "not HTTP" : status_text() + ", then not HTTP") + ": " + error.message() +
                    " in \"" + text + "\"");
    }

    std::shared_ptr<const HttpCheck> check_;
    Expectation expectation_;
    std::optional<AnswerParser> parser_;
    std::string pending_;  // not understood yet
    std::string body_;
    std::size_t received_bytes_ = 0;
    std::size_t looked_bytes_ = 0;
};

// What a check asks for that cannot be asked.
class UnusableTalk final : public Talk {
  public:
    explicit UnusableTalk(std::string why) : why_(std::move(why)) {}
    Step on_connected() override { return unusable(why_); }
    Step on_bytes(std::string_view) override { return unusable(why_); }
    Step on_tls() override { return unusable(why_); }
    Step on_end() override { return unusable(why_); }
    std::string waiting_for() const override { return "nothing"; }

  private:
    std::string why_;
};

bool has_bytes_below(std::string_view text, char first_good) {
    return std::any_of(text.begin(), text.end(),
                       [&](char c) { return static_cast<unsigned char>(c) < first_good || c == 0x7f; });
}

bool equal_names(std::string_view a, std::string_view b) {
    return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                      [](unsigned char x, unsigned char y) { return std::tolower(x) == std::tolower(y); });
}

// As browsers and curl write it: brackets around IPv6, the port unless it is the scheme's.
std::string default_host(const ProbeSpec& spec) {
    const bool virtual_one = !spec.virtual_address.empty();
    const std::string address = virtual_one ? spec.virtual_address : spec.address.to_string();
    const unsigned port = virtual_one ? spec.virtual_port : spec.port;
    const unsigned usual = spec.check.protocol() == config::CHECK_PROTOCOL_HTTPS ? 443 : 80;
    std::string host = address.find(':') == std::string::npos ? address : '[' + address + ']';
    if (port != usual && port != 0) host += ':' + std::to_string(port);
    return host;
}

std::vector<std::uint32_t> sorted(const google::protobuf::RepeatedField<std::uint32_t>& list) {
    std::vector<std::uint32_t> out(list.begin(), list.end());
    std::sort(out.begin(), out.end());
    out.erase(std::unique(out.begin(), out.end()), out.end());
    return out;
}

Result<std::string> request_of(const ProbeSpec& spec) {
    const config::Check& check = spec.check;
    std::string target = check.request();
    if (has_bytes_below(target, '!')) {
        return Error{"request has a space or a control character in it", "write %20 for a space"};
    }
    if (!target.starts_with('/') && !target.starts_with("http://") && !target.starts_with("https://")) {
        target.insert(0, "/");
    }
    std::vector<std::pair<std::string, std::string>> fields{
        {"Host", check.host().empty() ? default_host(spec) : check.host()},
        {"User-Agent", "lbcluster-healthd/" LBCLUSTER_VERSION},
        {"Accept", "*/*"},
        {"Connection", "close"},
    };
    for (const auto& [name, value] : check.headers()) {
        const auto same =
            std::find_if(fields.begin(), fields.end(), [&](const auto& f) { return equal_names(f.first, name); });
        if (same == fields.end()) fields.emplace_back(name, value);
        else same->second = value;
    }
    // The map has no order of its own; equal checks shall send equal requests.
    std::sort(fields.begin() + 4, fields.end());
    std::string out = (check.method() == config::HTTP_METHOD_HEAD ? "HEAD " : "GET ") + target + " HTTP/1.1\r\n";
    for (const auto& [name, value] : fields) {
        if (has_bytes_below(value, ' ')) {
            return Error{"header " + name + " has a control character in its value", "a header is one line"};
        }
        out += name + ": " + value + "\r\n";
    }
    return out + "\r\n";
}

}  // namespace

Result<std::shared_ptr<const HttpCheck>> HttpCheck::make(const ProbeSpec& spec) {
    auto request = request_of(spec);
    if (!request) return request.error();
    HttpCheck made{std::move(*request), spec.check.method() == config::HTTP_METHOD_HEAD,
                   sorted(spec.check.expect_status()), sorted(spec.check.standby_status()), &spec.check};
    if (made.head && Expectation(spec.check).any()) {
        return Error{"the answer to HEAD has no body to look for expect_text or expect_regex in",
                     "use method: get, or expect_status alone"};
    }
    return std::make_shared<const HttpCheck>(std::move(made));
}

std::unique_ptr<Talk> make_http_talk(std::shared_ptr<const HttpCheck> check) {
    return std::make_unique<HttpTalk>(std::move(check));
}

std::unique_ptr<Talk> make_http_talk(const ProbeSpec& spec) {
    auto check = HttpCheck::make(spec);
    if (!check) return std::make_unique<UnusableTalk>(check.error().message);
    return make_http_talk(std::move(*check));
}

std::string host_name_of(const std::string& host) {
    if (host.starts_with('[')) return host.substr(1, host.find(']') - 1);
    const std::size_t colon = host.find(':');
    // More than one: an IPv6 address without brackets.
    return colon != std::string::npos && host.find(':', colon + 1) == std::string::npos ? host.substr(0, colon) : host;
}

}  // namespace lbcluster::health
