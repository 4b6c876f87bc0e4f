#!/bin/bash
echo "$HOST_NAME ${PIECES[1]}" >> $R/etc/motd
