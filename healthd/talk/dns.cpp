// DNS over UDP (RFC 1035). `request` is a name, or a name and a type ("example.org MX"; else A); without one the name
// servers of the root are asked for. Up: NOERROR, and for a name of one's own at least one record. A truncated answer
// is an answer. The packet is taken apart by libresolv, whose walk along compressed names is bounded.
//
// expect_text and expect_regex look at the records, a line each: "www.example.org A 192.0.2.1", "example.org MX 10
// mx1".
#include <arpa/inet.h>
#include <arpa/nameser.h>
#include <resolv.h>

#include <algorithm>
#include <array>
#include <cctype>

#include "healthd/talk/expectation.hpp"
#include "healthd/talk/protocols.hpp"

namespace lbcluster::health {
namespace {

struct Named {
    int value;
    std::string_view name;
};
constexpr std::array types{Named{ns_t_a, "A"},     Named{ns_t_aaaa, "AAAA"}, Named{ns_t_cname, "CNAME"},
                           Named{ns_t_ns, "NS"},   Named{ns_t_mx, "MX"},     Named{ns_t_txt, "TXT"},
                           Named{ns_t_soa, "SOA"}, Named{ns_t_ptr, "PTR"},   Named{ns_t_srv, "SRV"}};
constexpr std::array rcodes{Named{ns_r_noerror, "NOERROR"},   Named{ns_r_formerr, "FORMERR"},
                            Named{ns_r_servfail, "SERVFAIL"}, Named{ns_r_nxdomain, "NXDOMAIN"},
                            Named{ns_r_notimpl, "NOTIMP"},    Named{ns_r_refused, "REFUSED"}};

template <std::size_t N>
std::string name_of(const std::array<Named, N>& list, int value, std::string_view other) {
    const auto found = std::find_if(list.begin(), list.end(), [&](const Named& n) { return n.value == value; });
    return found != list.end() ? std::string(found->name) : std::string(other) + std::to_string(value);
}

std::string lower(std::string_view text) {
    std::string out(text);
    std::transform(out.begin(), out.end(), out.begin(), [](unsigned char c) { return std::tolower(c); });
    return out;
}

std::string without_dot(std::string name) {
    if (name.size() > 1 && name.ends_with('.')) name.pop_back();
    return name.empty() ? "." : name;
}

class DnsTalk final : public Talk {
  public:
    DnsTalk(const config::Check& check, Random random) : check_(check) {
        const std::string bytes = random_bytes(random, 2);
        id_ = ByteReader(bytes).u16();
        std::string_view request = check.request();
        if (request.empty()) return;
        const auto blank = request.find(' ');
        name_ = request.substr(0, blank);
        type_ = ns_t_a;
        if (blank == std::string_view::npos) return;
        const std::string type = lower(request.substr(blank + 1));
        const auto found =
            std::find_if(types.begin(), types.end(), [&](const Named& n) { return lower(n.name) == type; });
        type_ = found == types.end() ? ns_t_invalid : found->value;
    }

    Step on_connected() override {
        std::array<unsigned char, NS_MAXCDNAME> wire{};
        if (type_ == ns_t_invalid || has_nul(name_) || ::ns_name_pton(name_.c_str(), wire.data(), wire.size()) < 0) {
            return unusable("DNS: request \"" + printable(check_.request(), 100) + "\" is not NAME or NAME TYPE");
        }
        const int size = ::dn_skipname(wire.data(), wire.data() + wire.size());
        LBC_ASSERT(size > 0);
        question_.assign(reinterpret_cast<const char*>(wire.data()), static_cast<std::size_t>(size));
        put_u16(question_, static_cast<std::uint16_t>(type_));
        put_u16(question_, ns_c_in);
        std::string head;
        put_u16(head, id_);
        put_u16(head, 0x0100);  // recursion desired
        for (const std::uint16_t count : {1, 0, 0, 0}) put_u16(head, count);
        return say(head + question_);
    }

    Step on_bytes(std::string_view datagram) override {
        ns_msg message;
        const auto* data = reinterpret_cast<const unsigned char*>(datagram.data());
        ByteReader reader(datagram);
        // Not an answer to this question: somebody else's, or a forgery.
        if (reader.u16() != id_ || !reader.ok()) return {};
        if (::ns_initparse(data, static_cast<int>(datagram.size()), &message) < 0) return down("DNS: malformed answer");
        if (ns_msg_getflag(message, ns_f_qr) == 0) return {};
        const std::string rcode = name_of(rcodes, ns_msg_getflag(message, ns_f_rcode), "RCODE");
        const std::string asked = name_of(types, type_, "TYPE") + " of " + printable(without_dot(name_), 80);
        // A server that could not read the question need not repeat it.
        const bool same = lower(datagram.substr(NS_HFIXEDSZ, question_.size())) == lower(question_);
        if (rcode != "NOERROR") return down("DNS: " + rcode + " for " + asked);
        if (!same) return down("DNS: answers another question than " + asked);

        const int count = ns_msg_count(message, ns_s_an);
        const bool truncated = ns_msg_getflag(message, ns_f_tc) != 0;
        std::string records;
        for (int i = 0; i < count; ++i) {
            ns_rr record;
            if (::ns_parserr(&message, ns_s_an, i, &record) < 0) {
                if (truncated) break;
                return down("DNS: malformed record in the answer for " + asked);
            }
            // Compressed names can make much of little.
            if (records.size() < received_bytes_max) records += printed(message, record) + '\n';
        }
        if (count == 0 && !check_.request().empty() && !truncated) return down("DNS: no " + asked);
        const std::string found = std::to_string(count) + " records for " + asked + (truncated ? ", truncated" : "");
        const std::string missing = Expectation(check_).missing(records);
        return missing.empty() ? up("DNS: " + found) : down("DNS: " + missing + ": " + printable(records, 90));
    }

    Step on_tls() override { return unusable("DNS: there is no TLS over UDP"); }
    Step on_end() override { return down("DNS: no answer"); }
    [[nodiscard]] std::string waiting_for() const override { return "answer to the query"; }

  private:
    static std::string name_at(const ns_msg& message, const unsigned char* at) {
        std::array<char, NS_MAXDNAME> name{};
        const int size = ::dn_expand(ns_msg_base(message), ns_msg_end(message), at, name.data(), name.size());
        return size < 0 ? "?" : without_dot(name.data());
    }

    static std::string printed(const ns_msg& message, const ns_rr& record) {
        const unsigned char* data = ns_rr_rdata(record);
        const std::string_view bytes(reinterpret_cast<const char*>(data), ns_rr_rdlen(record));
        const int type = ns_rr_type(record);
        ByteReader reader(bytes);
        std::string value;
        std::array<char, INET6_ADDRSTRLEN> address{};
        if (type == ns_t_a && bytes.size() == 4) {
            value = ::inet_ntop(AF_INET, data, address.data(), address.size());
        } else if (type == ns_t_aaaa && bytes.size() == 16) {
            value = ::inet_ntop(AF_INET6, data, address.data(), address.size());
        } else if (type == ns_t_cname || type == ns_t_ns || type == ns_t_ptr || type == ns_t_soa) {
            value = name_at(message, data);
        } else if (type == ns_t_mx && bytes.size() > 2) {
            value = std::to_string(reader.u16()) + ' ' + name_at(message, data + 2);
        } else if (type == ns_t_srv && bytes.size() > 6) {
            for (int i = 0; i < 3; ++i) value += std::to_string(reader.u16()) + ' ';
            value += name_at(message, data + 6);
        } else if (type == ns_t_txt) {
            while (!reader.rest().empty()) value += reader.bytes(reader.u8());
        } else {
            value = std::to_string(bytes.size()) + " bytes";
        }
        return without_dot(ns_rr_name(record)) + ' ' + name_of(types, type, "TYPE") + ' ' + value;
    }

    const config::Check& check_;
    std::uint16_t id_ = 0;
    std::string name_ = ".";
    int type_ = ns_t_ns;
    std::string question_;  // as sent
};

}  // namespace

std::unique_ptr<Talk> make_dns_talk(const ProbeSpec& spec, Random random) {
    return std::make_unique<DnsTalk>(spec.check, random);
}

}  // namespace lbcluster::health
