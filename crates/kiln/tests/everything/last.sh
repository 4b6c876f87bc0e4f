#!/bin/bash
set -e
echo cleanup >> /var/log-points
