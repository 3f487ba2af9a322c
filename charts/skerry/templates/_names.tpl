{{/* The chart's name. */}}
{{- define "skerry.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{/* The name of all that is made in a namespace. 40 characters leave room for what is added to it. */}}
{{- define "skerry.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* The name of what is in no namespace. Operators of single namespaces may stand beside each other. */}}
{{- define "skerry.clusterName" -}}
{{- if .Values.clusterWide -}}
{{- include "skerry.fullname" . -}}
{{- else -}}
{{- printf "%s-%s" (include "skerry.fullname" .) .Release.Namespace -}}
{{- end -}}
{{- end -}}

{{/* The Lease of this release's operator: one leads for each. The release called skerry has the name that all once had. */}}
{{- define "skerry.lease" -}}
{{- include "skerry.fullname" . -}}-operator
{{- end -}}

{{- define "skerry.selectorLabels" -}}
app.kubernetes.io/name: {{ include "skerry.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: operator
{{- end -}}

{{/* On every object. Takes the root context. */}}
{{- define "skerry.labels" -}}
{{ include "skerry.ownLabels" . }}
app.kubernetes.io/component: operator
{{- end -}}

{{- define "skerry.ownLabels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
app.kubernetes.io/name: {{ include "skerry.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: skerry
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "skerry.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "skerry.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{/* The whole name of an image. Takes a dict of `root` and `image`. */}}
{{- define "skerry.image" -}}
{{- with .root.Values.imageRegistry }}{{ . | trimSuffix "/" }}/{{ end -}}
{{- .image.repository -}}
{{- if .image.digest -}}
@{{ .image.digest }}
{{- else -}}
:{{ .image.tag | default .root.Chart.AppVersion }}
{{- end -}}
{{- end -}}

{{/* The one namespace that is watched; empty = all. */}}
{{- define "skerry.watchNamespace" -}}
{{- if not .Values.clusterWide -}}
{{- .Values.watchNamespace | default .Release.Namespace -}}
{{- end -}}
{{- end -}}

{{/*
Refuses a second operator for the same databases: the two would undo each other, and each one's admission policies would refuse what the
other writes. Only a cluster that is asked tells which there are; who installs for one namespace may not be allowed to ask of others.
*/}}
{{- define "skerry.alone" -}}
{{- $where := ternary "" .Release.Namespace .Values.clusterWide }}
{{- $ours := include "skerry.watchNamespace" . }}
{{- range dig "items" (list) (lookup "apps/v1" "Deployment" $where "") }}
{{- $labels := dig "metadata" "labels" (dict) . }}
{{- $is_operator := and (eq (dig "app.kubernetes.io/part-of" "" $labels) "skerry") (eq (dig "app.kubernetes.io/component" "" $labels) "operator") }}
{{- $release := dig "app.kubernetes.io/instance" "" $labels }}
{{- $theirs := "" }}
{{- range dig "spec" "template" "spec" "containers" (list) . }}
{{- range .env | default list }}
{{- if eq .name "SKERRY_WATCH_NAMESPACE" }}{{ $theirs = .value | default "" }}{{ end }}
{{- end }}
{{- end }}
{{- $is_shared := or (eq $ours "") (eq $theirs "") (eq $ours $theirs) }}
{{- if and $is_operator $is_shared (not (and (eq $release $.Release.Name) (eq .metadata.namespace $.Release.Namespace))) }}
{{- fail (printf "the release %q in the namespace %q is an operator of Skerry already, and no two may look after the same databases: upgrade or uninstall that one, or install each with clusterWide=false and a watchNamespace of its own" $release .metadata.namespace) }}
{{- end }}
{{- end }}
{{- end -}}

{{/*
Pods of the operator: as many as somebody has scaled it to, else as the values say. Helm 4 applies on the server, which
refuses to take back what `kubectl scale` or an autoscaler has set.
*/}}
{{- define "skerry.replicas" -}}
{{- $replicas := .Values.replicaCount }}
{{- $live := lookup "apps/v1" "Deployment" .Release.Namespace (include "skerry.fullname" .) }}
{{- range dig "metadata" "managedFields" (list) $live }}
{{- if eq (get . "subresource") "scale" }}
{{- $replicas = dig "spec" "replicas" $replicas $live }}
{{- end }}
{{- end }}
{{- int $replicas }}
{{- end }}
