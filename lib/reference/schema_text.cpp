#include "lbcluster/reference/manual.hpp"
#include "lib/reference/schema.hpp"

namespace lbcluster::reference {
namespace {

std::string capital(std::string text) {
    if (!text.empty()) text[0] = static_cast<char>(std::toupper(static_cast<unsigned char>(text[0])));
    return text;
}

std::string values_text(const Key& key, const std::string& open, const std::string& close) {
    std::string out;
    for (const Value& value : key.values) {
        out += (out.empty() ? "" : "; ") + open + value.word + close + (value.about.empty() ? "" : ": " + value.about);
    }
    return out;
}

// As GitHub makes it of a heading.
std::string anchor_of(const std::string& heading) {
    std::string out;
    for (const char c : heading) {
        if (c == ' ') out += '-';
        else if (std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_' || c == '-') out += c;
    }
    return out;
}

std::string type_cell(const Key& key, const std::string& file) {
    const std::string type = cell_text(key.type);
    const std::string heading = file + " " + key.section;
    return key.section.empty() ? type : "[" + type + "](#" + anchor_of(heading) + ")";
}

// Comments are written for both outputs: code in backquotes stays as it is.
std::string meaning_cell(const Key& key) {
    std::string out = cell_text(key.meaning);
    const std::string values = values_text(key, "`", "`");
    if (values.empty()) return out;
    return out + (out.empty() ? "" : " ") + values;
}

}  // namespace

std::string markdown_of(const std::vector<Section>& sections, const std::string& file) {
    std::string out;
    for (const Section& section : sections) {
        out += section.title.empty() ? "## " + file + "\n\n" : "### " + file + " " + section.title + "\n\n";
        if (!section.title.empty() && !section.about.empty()) out += section.about + "\n\n";
        out += "| key | type | default | meaning |\n|---|---|---|---|\n";
        for (const Key& key : section.keys) {
            const std::string given = key.required               ? "must be given"
                                      : key.default_text.empty() ? ""
                                                                 : cell_text(key.default_text);
            out +=
                "| `" + key.name + "` | " + type_cell(key, file) + " | " + given + " | " + meaning_cell(key) + " |\n";
        }
        out += "\n";
    }
    return out;
}

std::string man_of(const std::vector<Section>& sections, const std::string& file, const std::string& about,
                   const std::string& date) {
    std::string out =
        ".TH LBCLUSTER-" + file + " 5 \"" + date +
        "\" \"lbcluster " LBCLUSTER_VERSION "\" \"lbcluster\"\n.SH NAME\nlbcluster\\-" + man_text(file) + " \\- " +
        man_text(about) + "\n.SH SYNOPSIS\n\\fI/etc/lbcluster/" + man_text(file) +
        "\\fR\n.SH DESCRIPTION\n"
        "YAML without aliases, tags, duplicate keys and a second document; at most 1 MiB. A duration is a "
        "number and a unit: 500ms, 3s, 5m, 1h. A list of one single value may be written without "
        "brackets.\n.PP\n\\fBlbcluster config check\\fR \\fIFILE\\fR names every mistake with its place; "
        "\\fBlbcluster config show\\fR shows what is in force, defaults included.\n";
    for (const Section& section : sections) {
        out += section.title.empty() ? ".SH KEYS\n" : ".SS " + man_text(section.title) + "\n";
        if (!section.title.empty() && !section.about.empty()) out += man_text(section.about) + "\n";
        for (const Key& key : section.keys) {
            out += ".TP\n\\fB" + man_text(key.name) + "\\fR\n" + man_text(capital(key.type));
            if (!key.section.empty()) out += man_text(", see " + key.section);
            out += ".";
            if (key.required) out += " Must be given.";
            else if (!key.default_text.empty()) out += " Default: " + man_text(key.default_text) + ".";
            if (!key.meaning.empty()) out += "\n" + man_text(key.meaning);
            const std::string values = values_text(key, "", "");
            if (!values.empty()) out += "\n" + man_text("Values: " + values + ".");
            out += "\n";
        }
    }
    return out + ".SH SEE ALSO\n.BR lbcluster (1) ,\n.BR lbcluster\\-" +
           man_text(file == "node.yaml" ? "cluster.yaml" : "node.yaml") + " (5)\n";
}

}  // namespace lbcluster::reference
