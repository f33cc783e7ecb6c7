#include "healthd/notify/message.hpp"

#include <array>
#include <ctime>
#include <map>
#include <nlohmann/json.hpp>

#include "healthd/core/types.hpp"
#include "lbcluster/base/time.hpp"

namespace lbcluster::health {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::size_t line_bytes_max = 900;     // RFC 5322 allows 998
constexpr std::size_t summary_bytes_max = 200;  // fits a Subject
constexpr std::size_t labels_shown_max = 3;     // in the summary

Json text_or_null(const std::string& text) { return text.empty() ? Json(nullptr) : Json(text); }
Json time_or_null(std::uint64_t ms) { return ms == 0 ? Json(nullptr) : Json(format_rfc3339(ms)); }

std::string was(const std::string& before) { return before.empty() ? "" : " (was " + before + ")"; }

void add_part(std::string& text, const std::string& part) { text += (text.empty() ? "" : "; ") + part; }

// "web is red", or, of many, "2 services red, 7 green".
void add_services(std::string& text, const Message& message) {
    if (message.services.size() <= labels_shown_max) {
        for (const ServiceNews& one : message.services) add_part(text, one.label + " is " + one.color);
        return;
    }
    std::map<std::string, std::size_t> count;
    for (const ServiceNews& one : message.services) ++count[one.color];
    std::string part;
    for (const char* color : {"red", "yellow", "blue", "green"}) {
        if (count[color] == 0) continue;
        part += (part.empty() ? "" : ", ") + std::to_string(count[color]) + " services " + color;
    }
    add_part(text, part);
}

void add_servers(std::string& text, const Message& message) {
    if (message.servers.size() <= labels_shown_max) {
        for (const ServerNews& one : message.servers) {
            add_part(text, "server " + one.service + "/" + one.server + " " + one.health);
        }
        return;
    }
    std::map<std::string, std::size_t> count;
    for (const ServerNews& one : message.servers) ++count[one.health];
    std::string part;
    for (const char* health : {"down", "unknown", "standby", "up"}) {
        if (count[health] == 0) continue;
        part += (part.empty() ? "" : ", ") + std::to_string(count[health]) + " servers " + health;
    }
    add_part(text, part + (message.servers_left_out > 0 ? " and more" : ""));
}

// Sat, 21 Nov 2026 02:08:19 +0000 (RFC 5322 3.3); strftime() would speak the daemon's language.
std::string mail_date(std::uint64_t ms) {
    static constexpr std::array<const char*, 7> days{"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
    static constexpr std::array<const char*, 12> months{"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                                        "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
    const auto seconds_since_1970 = static_cast<std::time_t>(ms / 1000);
    std::tm utc{};
    gmtime_r(&seconds_since_1970, &utc);
    const std::string time = format_rfc3339(ms);
    return std::string(days.at(static_cast<std::size_t>(utc.tm_wday))) + ", " + time.substr(8, 2) + " " +
           months.at(static_cast<std::size_t>(utc.tm_mon)) + " " + time.substr(0, 4) + " " + time.substr(11, 8) +
           " +0000";
}

}  // namespace

std::string summary_of(const Message& message) {
    std::string text;
    if (message.role) text = message.node + " is " + message.role->activity + was(message.role->before);
    add_services(text, message);
    add_servers(text, message);
    return printable(message.role ? text : message.node + ": " + text, summary_bytes_max);
}

std::string text_of(const Message& message) {
    std::string text;
    const auto line = [&text](const std::string& words) { text += printable(words, line_bytes_max) + "\n"; };
    if (message.role) {
        line("Node " + message.node + " is " + message.role->activity + was(message.role->before) +
             (message.role->reason.empty() ? "" : ": " + message.role->reason));
    }
    if (!message.services.empty()) text += text.empty() ? "Services:\n" : "\nServices:\n";
    for (const ServiceNews& one : message.services) {
        line("  " + one.label + " " + one.address + " is " + one.color + was(one.before) + ", " +
             std::to_string(one.up) + " of " + std::to_string(one.servers) + " servers up");
    }
    if (message.services_left_out > 0) text += "  and " + std::to_string(message.services_left_out) + " more\n";
    if (!message.servers.empty()) text += text.empty() ? "Servers:\n" : "\nServers:\n";
    for (const ServerNews& one : message.servers) {
        line("  " + one.service + "/" + one.server + " " + one.address +
             (one.port == 0 ? "" : " port " + std::to_string(one.port)) + " is " + one.health + was(one.before) +
             (one.since_ms == 0 ? "" : " since " + format_rfc3339(one.since_ms)) +
             (one.reason.empty() ? "" : ": " + one.reason));
    }
    if (message.servers_left_out > 0) text += "  and " + std::to_string(message.servers_left_out) + " more\n";
    text += "\n" + std::string(message.whole ? "This is all of it" : "This is what changed") + ", as " + message.node +
            " saw it at " + format_rfc3339(message.time_ms) + ".\n";
    return text;
}

std::string json_of(const Message& message) {
    Json out{{"event", message.whole ? "state" : "change"},
             {"node", message.node},
             {"time", format_rfc3339(message.time_ms)},
             {"summary", summary_of(message)},
             {"role", nullptr},
             {"services", Json::array()},
             {"servers", Json::array()},
             {"left_out", message.services_left_out + message.servers_left_out}};
    if (message.role) {
        out["role"] = {{"activity", message.role->activity},
                       {"before", text_or_null(message.role->before)},
                       {"reason", message.role->reason},
                       {"since", time_or_null(message.role->since_ms)}};
    }
    for (const ServiceNews& one : message.services) {
        out["services"].push_back({{"label", one.label},
                                   {"address", one.address},
                                   {"color", one.color},
                                   {"before", text_or_null(one.before)},
                                   {"up", one.up},
                                   {"servers", one.servers}});
    }
    for (const ServerNews& one : message.servers) {
        out["servers"].push_back({{"service", one.service},
                                  {"label", one.server},
                                  {"address", one.address},
                                  {"port", one.port},
                                  {"health", one.health},
                                  {"before", text_or_null(one.before)},
                                  {"reason", one.reason},
                                  {"since", time_or_null(one.since_ms)}});
    }
    return out.dump(-1, ' ', true, Json::error_handler_t::replace) + "\n";
}

std::string mail_of(const Message& message, const std::string& from, const std::vector<std::string>& to,
                    const std::string& unique) {
    std::string recipients;
    for (const std::string& one : to) recipients += (recipients.empty() ? "" : ",\r\n ") + ("<" + one + ">");
    std::string mail = "Date: " + mail_date(message.time_ms) + "\r\nFrom: lbcluster on " + message.node + " <" + from +
                       ">\r\nTo: " + recipients + "\r\nSubject: [lbcluster] " + summary_of(message) +
                       "\r\nMessage-ID: <" + unique + from.substr(from.rfind('@')) +
                       ">\r\nAuto-Submitted: auto-generated\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; "
                       "charset=us-ascii\r\n\r\n";
    for (const char c : text_of(message)) {
        if (c == '\n') mail += '\r';
        mail += c;
    }
    return mail;
}

}  // namespace lbcluster::health
