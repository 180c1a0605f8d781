#include "protocol.hpp"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cmath>
#include <cstdio>

namespace netadapt {
namespace {

constexpr std::string_view kPrefix = "@netadapt ";

std::uint32_t crc32(std::string_view bytes) {
  std::uint32_t crc = 0xffffffffu;
  for (const unsigned char byte : bytes) {
    crc ^= byte;
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ (0xedb88320u & (0u - (crc & 1u)));
  }
  return ~crc;
}

// ASCII only: what a shell or a terminal does to other bytes must not matter.
std::string quoted(std::string_view text) {
  std::string out = "\"";
  for (const unsigned char c : text) {
    if (c == '"' || c == '\\') {
      out += '\\';
      out += static_cast<char>(c);
    } else if (c >= 0x20 && c < 0x7f) {
      out += static_cast<char>(c);
    } else {
      std::array<char, 7> escape{};
      std::snprintf(escape.data(), escape.size(), "\\u%04x", c);
      out += escape.data();
    }
  }
  return out + "\"";
}

}  // namespace

JsonObject& JsonObject::add(std::string_view key, std::string_view text) {
  return raw(key, quoted(text));
}

JsonObject& JsonObject::raw(std::string_view key, std::string_view json) {
  if (text_.size() > 1) text_ += ',';
  text_ += quoted(key);
  text_ += ':';
  text_ += json;
  return *this;
}

std::string json_text(std::string_view text) { return quoted(text); }

std::string json_number(double value) {
  if (std::isnan(value)) return "NaN";
  if (std::isinf(value)) return value > 0 ? "Infinity" : "-Infinity";
  std::array<char, 32> text{};
  std::snprintf(text.data(), text.size(), "%.9g", value);
  return text.data();
}

void send(const JsonObject& message) {
  const std::string body = message.text();
  std::array<char, 48> head{};
  std::snprintf(head.data(), head.size(), "%s%zu %08x ", kPrefix.data(), body.size(), crc32(body));
  const std::string line = head.data() + body + "\n";
  std::size_t written = 0;
  while (written < line.size()) {
    const ssize_t n = ::write(STDOUT_FILENO, line.data() + written, line.size() - written);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) ::_exit(3);  // nobody listens any more
    written += static_cast<std::size_t>(n);
  }
}

Arguments::Arguments(int argc, char** argv) {
  for (int i = 1; i < argc; ++i) {
    const std::string argument = argv[i];
    const std::size_t equals = argument.find('=');
    if (equals == std::string::npos || equals == 0) {
      throw FatalError("arguments are key=value, got " + argument);
    }
    if (!values_.emplace(argument.substr(0, equals), argument.substr(equals + 1)).second) {
      throw FatalError("argument given twice: " + argument);
    }
  }
}

std::string Arguments::take(const std::string& key, const std::string& fallback) {
  const auto found = values_.extract(key);
  return found.empty() ? fallback : found.mapped();
}

std::vector<int> Arguments::take_cpus(const std::string& key) {
  std::vector<int> cpus;
  const std::string text = take(key, "");
  for (std::size_t start = 0; start < text.size();) {
    const std::size_t comma = std::min(text.find(',', start), text.size());
    cpus.push_back(parse<int>(key, std::string_view(text).substr(start, comma - start)));
    start = comma + 1;
  }
  return cpus;
}

void Arguments::finish() const {
  if (!values_.empty()) throw FatalError("unknown argument " + values_.begin()->first);
}

}  // namespace netadapt
