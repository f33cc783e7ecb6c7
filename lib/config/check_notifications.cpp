// The rules for notifications (OP-10).
#include <algorithm>
#include <cctype>
#include <set>

#include "lib/config/check_parts.hpp"

namespace lbcluster::config {
namespace {

// Headers that libcurl sets itself, or that would break the request.
bool is_reserved_header(std::string name) {
    static const std::set<std::string> reserved{"content-length", "content-type", "connection", "expect",
                                                "host",           "te",           "upgrade",    "transfer-encoding"};
    std::transform(name.begin(), name.end(), name.begin(),
                   [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    return reserved.contains(name);
}

void check_webhook(const NotificationWebhook& webhook, const std::string& path, const Reporter& report) {
    for (const auto& [name, value] : webhook.headers()) {
        if (is_reserved_header(name)) {
            report.error(path + ".headers." + name, "is set by itself", "remove it");
        } else if (value.find_first_of("\r\n") != std::string::npos) {
            report.error(path + ".headers." + name, "has a line break in it", "write it in one line");
        }
    }
    if (webhook.url().rfind("https://", 0) == 0) return;
    for (const auto& [given, key] :
         {std::pair{webhook.has_verify(), "verify"}, std::pair{webhook.has_ca_file(), "ca_file"}}) {
        if (given) report.error(path + "." + key, "only https has certificates", "remove it, or use https");
    }
}

void check_mail(const NotificationMail& mail, const std::string& path, const Reporter& report) {
    const bool tls = mail.starttls() || mail.port() == 465;
    if (mail.starttls() && mail.port() == 465) {
        report.error(path + ".starttls", "on port 465 TLS comes from the first byte", "remove it, or use port 587");
    }
    if (mail.has_user() != mail.has_password()) {
        report.error(path, mail.has_user() ? "a user without a password" : "a password without a user",
                     "give both, or neither");
    } else if (mail.has_password() && !tls) {
        report.error(path + ".password", "would cross the network in the clear", "set starttls: true, or port: 465");
    }
    for (const auto& [given, key] :
         {std::pair{mail.has_verify(), "verify"}, std::pair{mail.has_ca_file(), "ca_file"}}) {
        if (given && !tls) report.error(path + "." + key, "has no use without TLS", "remove it, or set starttls: true");
    }
}

}  // namespace

void check_notifications(const ClusterConfig& cluster, const Reporter& report) {
    std::set<std::string> labels;
    for (int i = 0; i < cluster.notifications_size(); ++i) {
        const Notification& one = cluster.notifications(i);
        const std::string path = "notifications[" + std::to_string(i) + "]";
        if (one.has_label() && !labels.insert(one.label()).second) {
            report.error(path + ".label", "'" + one.label() + "' is the label of another one already",
                         "each has its own");
        }
        const int ways = one.has_command() + one.has_webhook() + one.has_mail();
        if (ways != 1) {
            report.error(path, ways == 0 ? "tells nobody" : "has more than one way",
                         "give one of command, webhook and mail");
        }
        if (one.has_webhook()) check_webhook(one.webhook(), path + ".webhook", report);
        if (one.has_mail()) check_mail(one.mail(), path + ".mail", report);
    }
}

}  // namespace lbcluster::config
