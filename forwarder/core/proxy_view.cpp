#include "forwarder/core/proxy_view.hpp"

#include <charconv>
#include <sstream>

#include "forwarder/core/proxy_text.hpp"

namespace lbcluster::forward {

namespace {

std::uint64_t number(const std::string& text) {
    std::uint64_t value = 0;
    std::from_chars(text.data(), text.data() + text.size(), value);
    return value;
}

std::vector<std::string> fields_of(const std::string& line) {
    std::vector<std::string> fields(1);
    bool quoted = false;
    for (const char c : line) {
        if (c == '"') quoted = !quoted;
        else if (c == ',' && !quoted) fields.emplace_back();
        else fields.back() += c;
    }
    return fields;
}

// "10.0.0.1:80", "[fd00::1]:0"
std::optional<DestinationKey> place_in(const std::string& text) {
    const std::size_t colon = text.rfind(':');
    if (colon == std::string::npos) return std::nullopt;
    std::string host = text.substr(0, colon);
    if (host.starts_with('[') && host.ends_with(']')) host = host.substr(1, host.size() - 2);
    const auto address = IpAddress::parse(host);
    if (!address) return std::nullopt;
    return DestinationKey{*address, static_cast<std::uint16_t>(number(text.substr(colon + 1)))};
}

class Columns {
  public:
    explicit Columns(const std::string& head) {
        const auto names = fields_of(head.substr(2));  // "# pxname,..."
        for (std::size_t i = 0; i < names.size(); ++i) at_[names[i]] = i;
    }
    [[nodiscard]] std::string text(const std::vector<std::string>& fields, const std::string& name) const {
        const auto found = at_.find(name);
        return found == at_.end() || found->second >= fields.size() ? "" : fields[found->second];
    }
    [[nodiscard]] std::uint64_t count(const std::vector<std::string>& fields, const std::string& name) const {
        return number(text(fields, name));
    }

  private:
    std::map<std::string, std::size_t> at_;
};

ProxyRow row_of(const Columns& columns, const std::vector<std::string>& fields) {
    ProxyRow row;
    const std::string status = columns.text(fields, "status");
    row.ready = status == "no check" || status.starts_with("UP");
    row.weight = static_cast<std::uint32_t>(columns.count(fields, "weight"));
    row.at = place_in(columns.text(fields, "addr"));
    row.sessions = columns.count(fields, "scur");
    row.total = columns.count(fields, "stot");
    row.per_second = columns.count(fields, "rate");
    row.bytes_in = columns.count(fields, "bin");
    row.bytes_out = columns.count(fields, "bout");
    row.errors = columns.count(fields, "ereq") + columns.count(fields, "econ") + columns.count(fields, "eresp");
    return row;
}

std::string between(const std::string& text, const std::string& open, const std::string& close) {
    const std::size_t from = text.find(open);
    const std::size_t to = text.rfind(close);
    if (from == std::string::npos || to == std::string::npos || to < from) return "";
    return text.substr(from + open.size(), to - from - open.size());
}

std::string move_command(const std::string& server, const DestinationKey& to) {
    const std::string port = to.port == 0 ? "" : " port " + std::to_string(to.port);
    return "set server " + server + " addr " + to.address.to_string() + port;
}

// What is between the lines of dashes, without empty ones: such a line ends a command.
std::string only_pem(const std::string& text) {
    std::string out;
    std::istringstream lines(text);
    std::string line;
    bool inside = false;
    while (std::getline(lines, line)) {
        if (line.ends_with('\r')) line.pop_back();
        inside = inside || line.starts_with("-----BEGIN ");
        if (inside && !line.empty()) out += line + "\n";
        if (line.starts_with("-----END ")) inside = false;
    }
    return out;
}

}  // namespace

ProxyInfo parse_proxy_info(const std::string& text) {
    ProxyInfo out;
    std::istringstream lines(text);
    std::string line;
    while (std::getline(lines, line)) {
        const std::size_t colon = line.find(": ");
        if (colon == std::string::npos) continue;
        const std::string key = line.substr(0, colon);
        const std::string value = line.substr(colon + 2);
        if (key == "Version") out.version = value;
        else if (key == "description") out.description = value;
        else if (key == proxy_certificates_variable) out.certificates = between(value, "<", ">");
        else if (key == "Pid") out.pid = static_cast<std::uint32_t>(number(value));
    }
    return out;
}

ProxyView parse_proxy_view(const std::string& csv) {
    ProxyView out;
    std::istringstream lines(csv);
    std::string line;
    if (!std::getline(lines, line) || !line.starts_with("# ")) return out;
    const Columns columns(line);
    while (std::getline(lines, line)) {
        const auto fields = fields_of(line);
        const std::string proxy = columns.text(fields, "pxname");
        const std::string name = columns.text(fields, "svname");
        if (proxy.empty() || name.empty()) continue;
        const ProxyRow row = row_of(columns, fields);
        const std::string type = columns.text(fields, "type");
        // By the service's label, as the others.
        const bool in = proxy.ends_with(proxy_frontend_suffix);
        if (type == "0") out.frontends[in ? proxy.substr(0, proxy.rfind(':')) : proxy] = row;
        else if (type == "1") out.backends[proxy] = row;
        else if (type == "2") out.servers[{proxy, name}] = row;
    }
    return out;
}

ProxyStates ProxyView::states() const {
    ProxyStates out;
    for (const auto& [name, row] : servers) out[name] = {row.ready, row.ready ? row.weight : 0, false, row.at};
    return out;
}

bool is_move(const std::string& command) {
    return command.starts_with("set server ") && command.find(" addr ") != std::string::npos;
}

std::optional<std::vector<CertificateRenewal>> certificate_renewals(
    const std::string& folder, const std::map<std::string, std::string>& certificates) {
    constexpr std::size_t command_bytes_max = 15000;  // HAProxy has a buffer of 16 KiB
    std::vector<CertificateRenewal> out;
    for (const auto& [name, bytes] : certificates) {
        const std::string what = " ssl cert " + folder + "/" + name;
        out.push_back({"set" + what + " <<\n" + only_pem(bytes), "commit" + what, "abort" + what});
        if (out.back().set.size() > command_bytes_max) return std::nullopt;
    }
    return out;
}

std::vector<std::uint32_t> parse_old_workers(const std::string& text) {
    std::vector<std::uint32_t> out;
    std::istringstream lines(text);
    std::string line;
    bool old = false;
    while (std::getline(lines, line)) {
        if (line.starts_with("#")) old = line == "# old workers";
        else if (const auto pid = number(line); old && pid != 0) out.push_back(static_cast<std::uint32_t>(pid));
    }
    return out;
}

std::vector<std::string> session_commands(const std::string& sessions, const ProxyStates& wanted) {
    std::vector<std::string> out;
    std::istringstream lines(sessions);
    std::string line;
    while (std::getline(lines, line)) {
        // "0x5608064c3610: proto=tcpv4 src=127.0.0.1:39548 fe=web be=web srv=a ts=00 ..."
        const std::size_t colon = line.find(':');
        if (!line.starts_with("0x") || colon == std::string::npos) continue;
        ProxyServerName name;
        std::istringstream words(line.substr(colon + 1));
        std::string word;
        while (words >> word) {
            if (word.starts_with("be=")) name.first = word.substr(3);
            if (word.starts_with("srv=")) name.second = word.substr(4);
        }
        const auto found = wanted.find(name);
        if (found != wanted.end() && found->second.ends_sessions)
            out.push_back("shutdown session " + line.substr(0, colon));
    }
    return out;
}

std::vector<std::string> proxy_commands(const ProxyView& actual, const ProxyStates& wanted) {
    std::vector<std::string> first;
    std::vector<std::string> then;
    for (const auto& [name, want] : wanted) {
        const auto found = actual.servers.find(name);
        if (found == actual.servers.end()) continue;
        const ProxyRow& there = found->second;
        const std::string server = name.first + "/" + name.second;
        const bool moves = want.at && there.at && *want.at != *there.at;
        if (want.ready) {
            if (moves) first.push_back(move_command(server, *want.at));
            if (want.weight != 0 && there.weight != want.weight)
                first.push_back("set server " + server + " weight " + std::to_string(want.weight));
            if (!there.ready) first.push_back("set server " + server + " state ready");
            continue;
        }
        if (there.ready) then.push_back("set server " + server + " state maint");
        if (moves) then.push_back(move_command(server, *want.at));
        if (want.ends_sessions && (there.ready || there.sessions > 0))
            then.push_back("shutdown sessions server " + server);
    }
    first.insert(first.end(), then.begin(), then.end());
    return first;
}

}  // namespace lbcluster::forward
