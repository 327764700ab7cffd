#!/bin/sh
# Lets a build use the network it is in: certificates, mirrors and proxies from lab/images/site, if there are any.
# Usage: use-site.sh DIRECTORY
set -eu
site=$1
if [ -f "$site/apt.conf" ]; then
    cp "$site/apt.conf" /etc/apt/apt.conf.d/99site
fi
if [ -f "$site/sources.list" ]; then
    rm -f /etc/apt/sources.list.d/*
    cp "$site/sources.list" /etc/apt/sources.list
fi
if [ -f "$site/pip.conf" ]; then
    cp "$site/pip.conf" /etc/pip.conf
fi
# Named to both programs where it lies: the ca-certificates package would overwrite a copy in its own place.
if [ -f "$site/ca-certificates.crt" ]; then
    echo "Acquire::https::CaInfo \"$site/ca-certificates.crt\";" > /etc/apt/apt.conf.d/99site-certificates
    grep -q '^\[global\]' /etc/pip.conf 2>/dev/null || echo '[global]' >> /etc/pip.conf
    sed -i "s|^\[global\]|&\ncert = $site/ca-certificates.crt|" /etc/pip.conf
fi
